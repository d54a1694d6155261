"""What an instance collected, in numbers: how salience is spread."""

from __future__ import annotations

from app.clock import utc_now
from app.db.engine import Database
from app.domain.exchange import Exchange
from app.domain.salience import BINS, count_bins
from app.services.experiences import distribute_salience
from app.services.ingest import Submission, ingest_many
from tests.support import make_exchange


def test_every_value_falls_into_one_part_and_the_ends_belong() -> None:
    counts = count_bins([0.0, 0.0999, 0.1, 0.3, 0.95, 1.0])
    assert counts == [2, 1, 0, 1, 0, 0, 0, 0, 0, 2]
    assert count_bins(part / BINS for part in range(BINS)) == [1] * BINS


def test_distribution_counts_the_newest_and_leaves_out_what_was_filtered(db: Database) -> None:
    scores = dict.fromkeys(("surprise", "novelty", "arousal", "reward"), 0.95) | {"conflict": 0.0}
    exchanges = [
        make_exchange(1),
        make_exchange(2, salience=scores),
        make_exchange(3, salience=scores),
        {"prompt": "And?", "response": "[error] it broke"},
    ]
    items = [Submission(exchange=Exchange(**exchange)) for exchange in exchanges]
    ingest_many(db, items, now=utc_now())
    found = distribute_salience(db, "default", newest=2)
    assert found.count == 2
    assert found.dimensions["surprise"] == [0] * 9 + [2]
    assert found.dimensions["conflict"] == [2] + [0] * 9
    assert found.dimensions["total"][7] == 2
    assert distribute_salience(db, "default", newest=100).count == 3
