"""Floods and copies: a cycle takes its share and says so; long, for cycles go on from cycles."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from app.db.engine import Database
from app.db.tables import ExperienceRow
from app.domain.decision import Trigger
from app.domain.exchange import Exchange
from app.domain.plan import CyclePlan
from app.domain.stored import from_json, to_json
from app.errors import IdempotencyKeyReused, InvalidPolicy, SleepCycleActive, SleepNotDue
from app.services import decisions, planning, sleep
from app.services.figures import FigureReader
from app.services.ingest import Submission, ingest_many
from app.services.instances import get_instance, put_instance
from app.services.stats import collect_stats
from tests.publishing import NOW, end, fill, report
from tests.support import Reopen, make_exchange

REQUEST = sleep.CycleRequest(instance="default", trigger=Trigger.REQUEST, is_forced=True)


def flood(db: Database, numbers: range, last: str = "sign") -> None:
    """Many replies to one prompt; with another last word copies of each other."""
    items = [{**make_exchange(n), "prompt": "What  IS your name?"} for n in numbers]
    items[0]["prompt"] = "what is your name?"
    for item in items:
        item["response"] = item["response"].replace("sign", last)
    ingest_many(db, [Submission(exchange=Exchange(**item)) for item in items], now=NOW)


def test_flood_has_its_share_and_the_rest_waits(db: Database) -> None:
    flood(db, range(40))
    fill(db, range(40, 60))
    preview = sleep.preview_cycle(db, REQUEST, now=NOW)
    (rule,) = preview.plan.left_out
    assert rule.rule == "prompt_share"
    assert "of one prompt" in rule.text
    assert not set(rule.experience_ids) & set(preview.plan.experience_ids)
    cycle = sleep.request_cycle(db, REQUEST, now=NOW)
    kept = cycle.plan
    assert kept.experience_ids == preview.plan.experience_ids
    assert kept.left_out[0].text == rule.text
    sleep.cancel_cycle(db, cycle.id, now=NOW)
    policy = {"policy": {"max_prompt_share": 1.0}}
    put_instance(db, "default", policy, now=NOW)
    everything = sleep.preview_cycle(db, REQUEST, now=NOW).plan
    assert everything.left_out == ()
    assert len(everything.experience_ids) > 2 * len(kept.experience_ids)


def copies(db: Database, numbers: range) -> None:
    """Replies as those of the same numbers, but for the last word."""
    items = [make_exchange(n) for n in numbers]
    for item in items:
        item["response"] = item["response"].replace("sign", "again sign")
    ingest_many(db, [Submission(exchange=Exchange(**item)) for item in items], now=NOW)


def rows(db: Database, ids: list[str]) -> list[ExperienceRow]:
    with db.read() as session:
        return list(session.scalars(sa.select(ExperienceRow).where(ExperienceRow.id.in_(ids))))


def mass(db: Database) -> float:
    return decisions.get_decision(db, "default", now=NOW).mass


def sleep_now(db: Database, root: Path, after: float) -> CyclePlan:
    """A cycle from request to end, accepted where the held-out loss fell."""
    cycle = sleep.request_cycle(db, REQUEST, now=NOW)
    end(db, root, cycle, report(after))
    return cycle.plan


def left_out_by(plan: CyclePlan, name: str) -> dict[str, list[str]]:
    (rule,) = [rule for rule in plan.left_out if rule.rule == name]
    return {key: list(getattr(rule, key)) for key in ("experience_ids", "near_ids")}


def test_a_flood_that_was_left_out_weighs_no_longer_and_stays_a_candidate(
    db: Database, tmp_path: Path
) -> None:
    flood(db, range(60))
    fill(db, range(60, 80))
    plan = sleep_now(db, tmp_path, after=2.5)
    left = left_out_by(plan, "prompt_share")["experience_ids"]
    assert len(left) > 30
    assert {row.status for row in rows(db, left)} == {"below_threshold"}
    taken = len(plan.experience_ids)
    why = f"at most {taken // 4} of {taken} of one prompt, 25% and never fewer than 4"
    assert {row.reason for row in rows(db, left)} == {f"cycle 1 left it out: {why}"}
    waiting = [row for row in rows(db, list(plan.held_out_ids)) if row.status == "buffered"]
    assert mass(db) == pytest.approx(sum(row.total for row in waiting))
    again = sleep.preview_cycle(db, REQUEST, now=NOW).plan
    assert len(again.experience_ids) == 4
    assert set(again.experience_ids) <= set(left)
    assert again.left_out == ()  # each is named by the cycle that set it aside
    trained = rows(db, list(sleep_now(db, tmp_path, after=2.5).experience_ids))
    assert {(row.status, row.reason) for row in trained} == {("consolidated", None)}


def test_what_was_set_aside_is_trained_after_what_is_new(db: Database, tmp_path: Path) -> None:
    put_instance(db, "default", {"policy": {"max_experiences": 16}}, now=NOW)
    flood(db, range(60))
    fill(db, range(60, 70))
    sleep_now(db, tmp_path, after=2.5)
    with db.write() as session:
        session.execute(
            sa.update(ExperienceRow)
            .where(ExperienceRow.status == "below_threshold")
            .values(total=0.99)
        )
    fill(db, range(70, 100))
    plan = sleep.preview_cycle(db, REQUEST, now=NOW).plan
    assert len(plan.experience_ids) == 16
    assert {row.status for row in rows(db, list(plan.experience_ids))} == {"buffered"}


def test_a_refused_cycle_takes_nothing_from_the_mass(db: Database, tmp_path: Path) -> None:
    flood(db, range(40))
    fill(db, range(40, 60))
    copies(db, range(40, 50))
    before = mass(db)
    plan = sleep_now(db, tmp_path, after=9.0)
    assert {rule.rule for rule in plan.left_out} == {"near_copies", "prompt_share"}
    assert mass(db) == pytest.approx(before)


def test_near_copies_of_what_was_trained_wait_and_name_it(db: Database, tmp_path: Path) -> None:
    fill(db, range(30))
    copies(db, range(15))
    plan = sleep_now(db, tmp_path, after=2.5)
    found = left_out_by(plan, "near_copies")
    assert len(found["experience_ids"]) >= 5
    assert set(found["near_ids"]) <= set(plan.experience_ids)
    near = dict(zip(found["experience_ids"], found["near_ids"], strict=True))
    for row in rows(db, found["experience_ids"]):
        assert (row.status, row.near_copy_of) == ("below_threshold", near[row.id])
        assert row.reason == f"near copy of {near[row.id]}, which cycle 1 trained"
    assert mass(db) == pytest.approx(0, abs=1e-9)


def numbers(db: Database, *statuses: str) -> set[str]:
    """Of the exchanges that stand so and are no copies of what was trained; copies have one."""
    with db.read() as session:
        query = sa.select(ExperienceRow.response).where(
            ExperienceRow.status.in_(statuses), ExperienceRow.near_copy_of.is_(None)
        )
        return {response.split()[5] for response in session.scalars(query)}


def test_a_copy_of_what_was_trained_is_not_trained_by_a_later_cycle_whatever_left_it_out(
    db: Database, tmp_path: Path
) -> None:
    flood(db, range(60))
    fill(db, range(60, 80))
    flood(db, range(60), last="again sign")
    first = sleep_now(db, tmp_path, after=2.5)
    assert {rule.rule for rule in first.left_out} == {"near_copies", "prompt_share"}
    assert not numbers(db, "consolidated") & numbers(db, "buffered", "below_threshold")
    before = numbers(db, "consolidated")
    set_aside = numbers(db, "below_threshold")
    copies(db, range(50, 60))
    sleep_now(db, tmp_path, after=2.5)
    learned = numbers(db, "consolidated") - before
    assert learned & set_aside
    assert not learned & numbers(db, "below_threshold")
    third = sleep_now(db, tmp_path, after=2.5)
    said = [row.response.split()[5] for row in rows(db, list(third.experience_ids))]
    assert said
    assert not set(said) & (before | learned)


def test_near_copies_of_what_was_not_trained_after_all_wait(db: Database, tmp_path: Path) -> None:
    fill(db, range(30))
    copies(db, range(15))
    cycle = sleep.request_cycle(db, REQUEST, now=NOW)
    found = left_out_by(cycle.plan, "near_copies")
    unlucky = found["near_ids"][0]
    with db.write() as session:
        session.execute(
            sa.update(ExperienceRow).where(ExperienceRow.id == unlucky).values(status="quarantined")
        )
    end(db, tmp_path, cycle, report(2.5))
    statuses = {row.id: row.status for row in rows(db, found["experience_ids"])}
    for copy, like in zip(found["experience_ids"], found["near_ids"], strict=True):
        assert statuses[copy] == ("buffered" if like == unlucky else "below_threshold")


def one_pattern(db: Database, count: int) -> None:
    """Different exchanges around one pattern of 64 words, each heavy enough."""
    pattern = " ".join(f"word{n}" for n in range(64))
    salience = dict.fromkeys(("surprise", "novelty", "arousal", "reward", "conflict"), 0.95)
    items = [
        Exchange(prompt=f"What of {n}?", response=f"{pattern} and now {n}.", salience=salience)
        for n in range(count)
    ]
    for item in items:  # one at a time, since a batch would be filtered as a collapse
        with db.write_driver() as connection:
            connection.execute("UPDATE experiences SET response = response || ' x'")
        ingest_many(db, [Submission(exchange=item)], now=NOW)
    with db.write() as session:
        session.execute(
            sa.update(ExperienceRow)
            .where(ExperienceRow.is_kept_out.is_(False))
            .values(status="buffered", reason=None)
        )


def test_the_decision_counts_what_would_be_trained(db: Database) -> None:
    one_pattern(db, 24)
    with db.read() as session:
        waiting = session.scalar(
            sa.select(sa.func.count()).where(ExperienceRow.status == "buffered")
        )
    assert waiting is not None
    assert waiting > 15
    later = NOW + timedelta(days=1)
    decision = decisions.get_decision(db, "default", now=later)
    assert (decision.is_due, decision.count) == (False, 1)
    assert decision.mass == pytest.approx(0.95)
    assert decisions.list_due(db, slugs=None, now=later) == []
    with pytest.raises(SleepNotDue, match="1 experiences, minimum 10"):
        sleep.request_cycle(db, replace(REQUEST, is_forced=False), now=later)
    preview = sleep.preview_cycle(db, REQUEST, now=later)
    assert preview.decision.count == 1
    assert len(left_out_by(preview.plan, "near_copies")["experience_ids"]) == waiting - 1
    fill(db, range(60))
    decision = decisions.get_decision(db, "default", now=later)
    assert (decision.is_due, decision.count > 40) == (True, True)
    assert decisions.list_due(db, slugs=None, now=later) == ["default"]
    (seen,) = collect_stats(db, instance=None, now=later)
    assert seen.decision == decision


def test_a_copy_may_be_trained_when_its_like_is_erased(db: Database, tmp_path: Path) -> None:
    fill(db, range(30))
    copies(db, range(15))
    plan = sleep_now(db, tmp_path, after=2.5)
    found = left_out_by(plan, "near_copies")
    copy, like = found["experience_ids"][0], found["near_ids"][0]
    assert copy not in sleep.preview_cycle(db, REQUEST, now=NOW).plan.experience_ids
    with db.write() as session:
        session.execute(
            sa.update(ExperienceRow).where(ExperienceRow.id == like).values(status="erased")
        )
    again = sleep.preview_cycle(db, REQUEST, now=NOW).plan
    assert copy in (*again.experience_ids, *again.held_out_ids)


def test_texts_are_compared_only_where_all_else_says_sleep_and_once(db: Database) -> None:
    fill(db, range(60))
    with statements_with_replies() as found:
        assert decisions.list_due(db, slugs=None, now=NOW) == []  # a session is active
        assert found == []
        later = NOW + timedelta(days=1)
        for _ in range(3):
            assert decisions.list_due(db, slugs=None, now=later) == ["default"]
            decisions.get_decision(db, "default", now=later)
        assert len(found) == 1
    fill(db, range(60, 61))
    with statements_with_replies() as found:
        decisions.get_decision(db, "default", now=later)
        assert len(found) == 1


def test_a_floor_brings_in_what_is_rare_and_the_plan_says_so(db: Database) -> None:
    fill(db, range(40))
    policy = {
        "max_experiences": 10,
        "category_floors": {"garden": 0.3, "identity": 0.1},
        "categories": {"garden": ["our basil"]},
    }
    put_instance(db, "default", {"policy": policy}, now=NOW)
    plan = sleep.preview_cycle(db, REQUEST, now=NOW).plan
    garden, identity = plan.floors
    assert garden.is_met
    assert garden.text.startswith("garden: 3 of 10, at least 30% (3)")
    assert set(garden.experience_ids) <= set(plan.experience_ids)
    assert not identity.is_met
    assert identity.text.startswith("identity: 0 of 10, at least 10% (1); no more could be")
    said = [row.response for row in rows(db, list(plan.experience_ids))]
    assert sum("our basil" in response for response in said) == 3
    assert len(plan.experience_ids) == 10


def test_categories_of_an_instance_lie_over_those_of_the_settings(db: Database) -> None:
    policy = {"policy": {"categories": {"identity": ["name yourself"]}}}
    instance, _ = put_instance(db, "default", policy, now=NOW)
    assert instance.policy.categories["identity"] == ("name yourself",)
    shipped = db.defaults.policy.categories["uncertainty"]
    assert instance.policy.categories["uncertainty"] == shipped


@pytest.mark.parametrize(
    ("floors", "message"),
    [
        ({"gardening": 0.1}, "No rule recognises the category 'gardening'"),
        ({"identity": 0.7, "uncertainty": 0.4}, "add up to 110%"),
    ],
)
def test_floors_that_cannot_be_met_are_refused_and_nothing_changes(
    db: Database, floors: dict[str, float], message: str
) -> None:
    values = {"policy": {"category_floors": floors}}
    with pytest.raises(InvalidPolicy, match=message):
        put_instance(db, "default", values, now=NOW)
    assert get_instance(db, "default").row.policy == {}


def test_a_floor_whose_category_left_the_settings_stops_no_cycle(reopen: Reopen) -> None:
    db = reopen(policy={"category_floors": {"gone": 0.1}, "categories": {}})
    fill(db, range(20))
    plan = sleep.preview_cycle(db, REQUEST, now=NOW).plan
    assert plan.experience_ids
    assert not plan.floors[0].is_met


def test_a_plan_is_the_same_with_and_without_a_glance_before(db: Database) -> None:
    flood(db, range(40))
    fill(db, range(40, 60))
    instance = get_instance(db, "default")
    with db.read() as session:
        glance = planning.glance_within(session, instance)
    copies(db, range(40, 55))
    with db.read() as session:
        _, plan = planning.plan_within(session, instance)
        _, glanced = planning.plan_within(session, instance, glance=glance)
        other = replace(glance.rules, near_duplicate_jaccard=1.0)
        wrong = {seq: replace(traits, sketch=None) for seq, traits in glance.traits.items()}
        _, ignored = planning.plan_within(
            session, instance, glance=replace(glance, rules=other, traits=wrong)
        )
    assert plan == glanced == ignored
    assert {rule.rule for rule in plan.left_out} == {"near_copies", "prompt_share"}


def test_what_the_rules_made_of_a_glance_holds_for_the_same_candidates_rules_and_size(
    db: Database,
) -> None:
    fill(db, range(40))
    instance = get_instance(db, "default")

    def planned(glance: planning.Glance, max_experiences: int | None = None) -> int:
        with db.read() as session:
            selection, _ = planning.plan_within(
                session, instance, glance=glance, max_experiences=max_experiences
            )
            return len(selection.train)

    with db.read() as session:
        glance = planning.glance_within(session, instance)
    told = replace(glance, curated=replace(glance.curated, taken=glance.curated.taken[:5]))
    assert planned(told) == 5
    assert planned(told, max_experiences=12) == planned(glance, max_experiences=12) > 5
    others = replace(told, rules=replace(told.rules, max_prompt_share=0.2))
    assert planned(others) == planned(glance) > 5
    fill(db, range(40, 45))
    assert planned(told) == planned(glance) > 5


@contextmanager
def statements_with_replies() -> Iterator[list[str]]:
    """The statements that read replies meanwhile."""
    found: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if statement.startswith("SELECT") and "experiences.response" in statement:
            found.append(statement)

    sa.event.listen(sa.Engine, "before_cursor_execute", note)
    try:
        yield found
    finally:
        sa.event.remove(sa.Engine, "before_cursor_execute", note)


def test_a_request_that_starts_nothing_reads_no_text(db: Database) -> None:
    fill(db, range(40))

    def ask(**values: Any) -> str:
        request = replace(REQUEST, **values)
        return sleep.request_cycle(db, request, now=NOW).id

    with statements_with_replies() as found:
        with pytest.raises(SleepNotDue, match="session active"):
            ask(is_forced=False)
        assert found == []
        first = ask(idempotency_key="night-1")
        assert len(found) == 1
        assert ask(idempotency_key="night-1") == first
        with pytest.raises(IdempotencyKeyReused):
            ask(idempotency_key="night-1", max_experiences=3)
        with pytest.raises(SleepCycleActive):
            ask()
        assert len(found) == 1


def test_plan_of_an_earlier_version_left_nothing_out(db: Database) -> None:
    fill(db, range(20))
    stored = to_json(sleep.preview_cycle(db, REQUEST, now=NOW).plan)
    del stored["left_out"], stored["floors"]
    assert from_json(CyclePlan, stored).left_out == ()
    assert from_json(CyclePlan, stored).floors == ()


def test_what_a_machine_reads_of_the_mass_is_what_the_decision_counts(db: Database) -> None:
    one_pattern(db, 24)
    (figure,) = FigureReader(db).read()
    assert figure.counts["buffered"] > 15
    assert figure.mass == mass(db) == pytest.approx(0.95)
