"""The arithmetic of the growth model: proportional, ordered, and consistent with itself."""

from __future__ import annotations

import pytest

from tests.benchmarks.growth import Constants, Workload, in_percent, strain_of, table

CONSTANTS = Constants(
    cycle_seconds=43_200.0,
    checkpoint_bytes=1e9,
    bytes_per_cycle=1e6,
    bytes_per_experience=1e6,
    posts_per_second=1.0,
    scheduler_seconds_per_instance=0.003,
    stats_seconds_per_instance=0.0,
    metrics_seconds_per_instance=0.001,
    instance_list_seconds_per_instance=0.01,
)
WORKLOAD = Workload(
    exchanges_per_day=864.0,
    cycles_per_day=1.0,
    peak_factor=10.0,
    scheduler_interval_seconds=30.0,
    scrape_seconds=10.0,
    page_seconds=1.0,
    disk_gb=1.0,
    disk_days=10.0,
    kept_checkpoints=4.0,
)


def used(instances: int) -> dict[str, float]:
    return {s.resource: s.used for s in strain_of(CONSTANTS, WORKLOAD, instances)}


def test_each_resource_is_demand_over_what_there_is() -> None:
    assert used(1) == pytest.approx(
        {
            "training slot": 0.5,
            "disk": 12.65,
            "ingest at peak": 0.1,
            "scheduler": 1e-4,
            "/stats, all pages": 0.0,
            "/metrics": 1e-4,
            "GET /v1/instances": 0.01,
        }
    )


def test_strain_is_proportional_and_breaks_where_it_says() -> None:
    for strain in strain_of(CONSTANTS, WORKLOAD, 1000):
        assert strain.used == pytest.approx(1000 * used(1)[strain.resource])
        if strain.used:
            assert strain.used * strain.breaks_at == pytest.approx(1000 * 1.0)


def test_what_breaks_first_is_named_first() -> None:
    strains = strain_of(CONSTANTS, WORKLOAD, 10)
    assert strains[0].resource == "disk"
    assert [s.used for s in strains] == sorted((s.used for s in strains), reverse=True)
    text = table(CONSTANTS, WORKLOAD, (10, 1000))
    assert "1,000 instances: breaks first: disk, 1,265,000 %" in text
    assert in_percent(0.000123) == "0.012 %"
