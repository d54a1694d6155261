"""Every error has a status, and only problems.py knows it."""

from __future__ import annotations

import inspect

import pytest

from app import errors
from app.api.problems import STATUSES, problem_of


def leaves(error_type: type[errors.SageSleepError]) -> list[type[errors.SageSleepError]]:
    children = error_type.__subclasses__()
    return [leaf for child in children for leaf in leaves(child)] if children else [error_type]


@pytest.mark.parametrize("leaf", leaves(errors.SageSleepError))
def test_every_leaf_has_a_row_of_its_own(
    leaf: type[errors.SageSleepError],
) -> None:
    assert leaf in STATUSES
    problem = problem_of(leaf("What is wrong.", pointer="/x", id="1"))
    assert problem["status"] == STATUSES[leaf]
    assert problem["type"] == f"urn:sage-sleep:problem:{leaf('x').code}"
    assert (problem["id"], problem["errors"][0]["pointer"]) == ("1", "/x")


def test_tree_in_the_docstring_names_every_error() -> None:
    drawn = inspect.getdoc(errors) or ""
    for name, found in vars(errors).items():
        if inspect.isclass(found) and issubclass(found, errors.SageSleepError):
            assert name in drawn, name
