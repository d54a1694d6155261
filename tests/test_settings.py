"""One declaration per value: environment, request and domain take the same, and refuse the same."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

import pytest
from annotated_types import Ge, Gt, Le, Lt
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, TypeAdapter, ValidationError

from app.api.schemas import OverridesIn, PolicyIn, RecipeIn
from app.domain.categories import MAX_FLOORS, MAX_PHRASE_CHARACTERS, MAX_PHRASES, check_floors
from app.domain.gate import GatePolicy
from app.domain.policy import SleepPolicy, lay_over_policy
from app.domain.presets import lay_over
from app.domain.recipe import Recipe
from app.errors import InvalidPolicy
from app.settings import (
    CLIENT_VARIABLES,
    GATE_PREFIX,
    Settings,
    setting_names,
    unknown_variables,
)

DECLARED: Mapping[str, type] = {"policy": SleepPolicy, "recipe": Recipe, "gate": GatePolicy}
FIELDS = [(part, field.name) for part, kind in DECLARED.items() for field in fields(kind)]
SENT: Mapping[str, type[BaseModel]] = {"policy": PolicyIn, "recipe": RecipeIn}

WITH_COMMAS = {"target_modules"}
PHRASES = st.sampled_from(["me", "who are you", "?!", "", "x" * MAX_PHRASE_CHARACTERS, "é"])
LONG_PHRASES = st.sampled_from(["x" * (MAX_PHRASE_CHARACTERS + 1), "y"])
CATEGORIES = st.sampled_from(["identity", "uncertainty", "garden", "Garden", "a" * 64, "a" * 65])
SHARES = st.sampled_from([0, 0.1, 0.5, 1, 1.5, -0.1])
OTHER: Mapping[str, st.SearchStrategy[Any]] = {
    "quiet_hours": st.sampled_from(["22:00-07:00", "7-8", "", "24:00-01:00", "07:00-07:00"]),
    "promotion": st.sampled_from(["automatic", "manual", "never", ""]),
    "category_floors": st.dictionaries(CATEGORIES, SHARES, max_size=3)
    | st.just({f"c{n}": 0.01 for n in range(MAX_FLOORS + 1)}),
    "categories": st.dictionaries(
        CATEGORIES, st.lists(PHRASES | LONG_PHRASES, max_size=3), max_size=3
    )
    | st.sampled_from([61, 62]).map(lambda count: {f"c{n}": ["x"] for n in range(count)})
    | st.sampled_from([MAX_PHRASES, MAX_PHRASES + 1]).map(
        lambda count: {"identity": ["x"] * count}
    ),
    "target_modules": st.lists(
        st.sampled_from(["q_proj", "a.b_1", "q proj", "é", "*", "x" * 128, "x" * 129]), max_size=3
    )
    | st.sampled_from([1024, 1025]).map(lambda count: ["q_proj"] * count),
    "thinking": st.sampled_from(["strip", "keep", "other", ""]),
    "device": st.sampled_from(["auto", "cpu", "mps", "cuda", "cuda:12", "cuda:123", "gpu", ""]),
    "quantization": st.sampled_from(["auto", "none", "8bit", "4bit", "8", ""]),
    "adaptive_threshold": st.booleans() | st.sampled_from([0.5, "maybe", 2, ""]),
    "push_to_vllm": st.booleans() | st.sampled_from([0.5, "maybe", 2, ""]),
    "push_to_mirror": st.booleans() | st.sampled_from([0.5, "maybe", 2, ""]),
    "push_to_ollama": st.booleans() | st.sampled_from([0.5, "maybe", 2, ""]),
    "wake_on_exchange": st.booleans() | st.sampled_from([0.5, "maybe", 2, ""]),
    "scales": st.lists(st.sampled_from([1, 0.25, 1e-9, 0, -1, 1.0000001]), max_size=6),
}


def values_of(part: str, name: str) -> st.SearchStrategy[Any]:
    """Values as JSON has them, most of them at a limit of the field's range."""
    if name in OTHER:
        return OTHER[name]
    declared = DECLARED[part].__pydantic_fields__[name]  # type: ignore[attr-defined]
    limits = [
        float(getattr(mark, kind))
        for mark in declared.metadata
        for kind, of in (("ge", Ge), ("gt", Gt), ("le", Le), ("lt", Lt))
        if isinstance(mark, of)
    ]
    assert limits, f"{name} has no range and no strategy"
    if declared.annotation is int:
        around = [int(limit) + step for limit in limits for step in (-1, 0, 1)]
        return st.sampled_from(around) | st.integers(-(2**40), 2**40)
    near = [limit for at in limits for limit in (at, math.nextafter(at, -9), math.nextafter(at, 9))]
    return st.sampled_from([*near, math.inf, -math.inf, math.nan]) | st.floats()


ANY_FINITE = {
    "max_grad_norm",
    *(field.name for field in fields(SleepPolicy)),
    *(GATE_PREFIX + field.name for field in fields(GatePolicy)),
}
"""Limits that may be as high as somebody likes, as long as they are numbers."""


def is_number(name: str) -> bool:
    """Whether a setting takes one number."""
    annotation = str(Settings.model_fields[name].annotation)
    is_one = not any(word in annotation for word in ("tuple", "dict"))
    return is_one and any(word in annotation for word in ("int", "float"))


def written(name: str, value: Any) -> str:
    """A value as a person writes it into the environment."""
    if name in WITH_COMMAS:
        return ",".join(value)
    return value if isinstance(value, str) else json.dumps(value)


def of_environment(part: str, name: str, value: Any) -> Any:
    """What the settings make of a value; None where they refuse it."""
    prefix = GATE_PREFIX if part == "gate" else ""
    with pytest.MonkeyPatch.context() as patch:
        number = repr(value) if isinstance(value, float) else None
        patch.setenv(f"SAGE_{prefix}{name}".upper(), number or written(name, value))
        try:
            defaults = Settings().instance_defaults()
        except ValidationError:
            return None
    return getattr(defaults, part)


def of_request(model: type[BaseModel], part: str, name: str, value: Any) -> Any:
    """What a request makes of it, stored and laid over the defaults; None where it is refused."""
    try:
        stored = model.model_validate({name: value}).model_dump(mode="json", exclude_none=True)
        if part == "recipe":
            return lay_over(Recipe(), json.loads(json.dumps(stored)))
        policy = lay_over_policy(SleepPolicy(), json.loads(json.dumps(stored)))
        check_floors(policy.category_floors, policy.categories)
    except (ValidationError, InvalidPolicy):
        return None
    else:
        return policy


@pytest.mark.parametrize(("part", "name"), FIELDS)
@settings(max_examples=50)
@given(data=st.data())
def test_environment_request_and_domain_take_the_same_values(
    part: str, name: str, data: st.DataObject
) -> None:
    value = data.draw(values_of(part, name))
    found = of_environment(part, name, value)
    if part in SENT:
        assert of_request(SENT[part], part, name, value) == found
    if name in OverridesIn.model_fields:
        assert of_request(OverridesIn, part, name, value) == found
    if found is not None and name != "categories":
        assert DECLARED[part](**{name: value}) == found
    if found is None and name not in {"category_floors", "categories"}:
        with pytest.raises(ValidationError):
            DECLARED[part](**{name: value})


def test_settings_that_nobody_set_are_what_the_domain_declares() -> None:
    defaults = Settings().instance_defaults()
    assert (defaults.policy, defaults.recipe, defaults.gate) == (
        SleepPolicy(),
        Recipe(),
        GatePolicy(),
    )


def test_every_field_has_a_setting_of_its_name_and_words() -> None:
    assert {"mass_threshold", "r", "gate_general_kl", "data_dir"} <= set(Settings.model_fields)
    for part, name in FIELDS:
        setting = Settings.model_fields[(GATE_PREFIX if part == "gate" else "") + name]
        assert setting.description
    assert [name for name, one in Settings.model_fields.items() if not one.description] == []


@pytest.mark.parametrize(
    ("name", "value"),
    [("max_grad_norm", "inf"), ("target_modules", ""), ("target_modules", "q proj")],
)
def test_setting_that_the_api_would_refuse_starts_no_daemon(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(f"SAGE_{name.upper()}", value)
    with pytest.raises(ValidationError, match=name):
        Settings()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("SAGE_DATA_DIR", ""),
        ("SAGE_DATA_DIR", " "),
        ("SAGE_HOST", ""),
        ("SAGE_HOST", "http://127.0.0.1"),
        ("SAGE_HOST", "127.0.0.1:8760"),
        ("SAGE_HOST", "[::1]"),
        ("SAGE_BASE_MODEL", ""),
        ("SAGE_TENSORBOARD_DIR", ""),
        ("SAGE_DATABASE_URL", ""),
        ("SAGE_DATABASE_URL", "sqlite://"),
        ("SAGE_DATABASE_URL", "sqlite:///:memory:"),
        ("SAGE_ALLOWED_HOSTS", "sage.example,https://sage.example"),
        ("SAGE_ALLOWED_HOSTS", "sage.example:443"),
        ("SAGE_TRUSTED_PROXIES", "localhost"),
        ("SAGE_STALL_SECONDS", "0.001"),
        ("SAGE_HEADER_TIMEOUT_SECONDS", "1e-9"),
        ("SAGE_MIN_EXPERIENCES", "99999999999999999999"),
        ("SAGE_MAX_BODY_BYTES", "99999999999999999999"),
    ],
)
def test_setting_with_which_a_daemon_could_not_work_is_refused(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ValidationError, match=name.removeprefix("SAGE_").lower()):
        Settings()


@pytest.mark.parametrize(
    ("values", "named"),
    [
        (
            {"max_held_bytes": "1048576"},
            "SAGE_MAX_HELD_BYTES is 1048576 and SAGE_MAX_BODY_BYTES 8388608",
        ),
        ({"regression_reports": "4", "regression_window": "3"}, "regression_window 3"),
        ({"gate_general_kl": "0.5", "gate_broken_kl": "0.2"}, "SAGE_GATE_BROKEN_KL is 0.2"),
        ({"teacher_url": "http://127.0.0.1:11434/v1"}, "SAGE_TEACHER_URL and SAGE_TEACHER_MODEL"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(
    monkeypatch: pytest.MonkeyPatch, values: dict[str, str], named: str
) -> None:
    for name, value in values.items():
        monkeypatch.setenv(f"SAGE_{name}".upper(), value)
    with pytest.raises(ValidationError, match=named):
        Settings()


@pytest.mark.parametrize(
    ("url", "kept"),
    [
        ("http://127.0.0.1:11434/v1/", "http://127.0.0.1:11434/v1"),
        ("https://models.example", "https://models.example"),
        ("127.0.0.1:11434", None),
        ("http://me:secret@models.example/v1", None),
        ("http://models.example/v1?key=secret", None),
    ],
)
def test_teacher_has_an_address_that_holds_no_secret(
    monkeypatch: pytest.MonkeyPatch, url: str, kept: str | None
) -> None:
    monkeypatch.setenv("SAGE_TEACHER_URL", url)
    monkeypatch.setenv("SAGE_TEACHER_MODEL", "large")
    monkeypatch.setenv("SAGE_TEACHER_KEY", "secret")
    if kept is None:
        with pytest.raises(ValidationError, match="teacher_url"):
            Settings()
        return
    settings = Settings()
    assert settings.teacher_url == kept
    assert "secret" not in f"{settings!r} {settings.model_dump(mode='json')}"


@pytest.mark.parametrize(
    ("name", "value"),
    [("regression_reports", "9"), ("regression_window", "1"), ("regression_reports", "0"),
     ("gate_general_kl", "0.5"), ("max_held_bytes", "8388608")],
)  # fmt: skip
def test_one_setting_alone_contradicts_no_default_that_can_follow(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(f"SAGE_{name}".upper(), value)
    Settings()


@pytest.mark.parametrize("name", [name for name in Settings.model_fields if is_number(name)])
def test_no_number_is_endless(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    for value in ("inf", "-inf", "nan", "9" * 400, *([] if name in ANY_FINITE else ["1e300"])):
        monkeypatch.setenv(f"SAGE_{name}".upper(), value)
        with pytest.raises(ValidationError):
            Settings()


def test_misspelt_variable_is_refused_with_what_was_meant(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAGE_MASS_TRESHOLD", "3")
    monkeypatch.setenv("sage_quite_hours", "22:00-07:00")
    with pytest.raises(ValidationError) as refused:
        Settings()
    assert "SAGE_MASS_TRESHOLD is no setting; did you mean SAGE_MASS_THRESHOLD?" in str(
        refused.value
    )
    assert "sage_quite_hours is no setting; did you mean SAGE_QUIET_HOURS?" in str(refused.value)


def test_variables_of_others_and_of_the_client_are_left_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("SAGE_ROOT", "SAGE_LOCAL", "SAGE_INSTANCE", "SAGE_NUM_THREADS", "SAGE_SESSION"):
        monkeypatch.setenv(name, "x")
    for name in CLIENT_VARIABLES:
        monkeypatch.setenv(name, "x")
    Settings()
    unknown = unknown_variables({"SAGE_ROOT": "x", "SAGE_TOKEN": "x", "SAGE_MODEL": "x", "A": "x"})
    models = ("SAGE_BASE_MODEL", "SAGE_MODEL_TABLE", "SAGE_TEACHER_MODEL")
    assert unknown == {"SAGE_ROOT": (), "SAGE_MODEL": models}


@pytest.mark.parametrize("name", setting_names())
def test_slip_in_any_setting_is_noticed(name: str) -> None:
    slip = name[:-1] if len(name) > len("SAGE_") + 5 else f"{name}_X"
    found = unknown_variables({slip: "x"}).get(slip)
    assert found is None or name in found or name == "SAGE_R"


@pytest.mark.parametrize("kind", DECLARED.values())
def test_declared_value_is_read_back_from_its_json(kind: type[Any]) -> None:
    read = TypeAdapter(kind)
    assert read.validate_json(read.dump_json(kind())) == kind()
