"""Figures are what the events add up to."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from luminaguard.vm.pool.events import Refused, Restored, Retired, Step, Taken, Why
from luminaguard.vm.pool.metrics import Percentiles, Totals
from luminaguard.vm.pool.schedule import Facts
from luminaguard.vm.pool.settings import PoolSettings
from luminaguard.vm.pool.state import PoolState
from luminaguard.vm.pool.waiting import Span, refusal, timings_ms


def test_percentiles_are_samples_that_were_taken() -> None:
    found = Percentiles.of([float(number) for number in range(100, 0, -1)])
    assert (found.p50, found.p95, found.p99, found.n) == (50, 95, 99, 100)
    assert Percentiles.of([7.0]).as_json() == {"p50": 7, "p95": 7, "p99": 7, "n": 1}
    assert Percentiles.of([]) == Percentiles()


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=50))
def test_percentiles_are_in_order(samples: list[float]) -> None:
    found = Percentiles.of(samples)
    assert min(samples) - 0.001 <= (found.p50 or 0) <= (found.p95 or 0) <= (found.p99 or 0)
    assert (found.p99 or 0) <= max(samples) + 0.001


def test_only_the_latest_samples_are_kept() -> None:
    totals = Totals()
    for number in range(1500):
        totals = totals.after(Restored(at_s=0, machine=number, spawn_ms=number))
    assert len(totals.spawn_ms) == 1024
    assert totals.spawn_ms[-1] == 1499
    assert totals.counts["spawned"] == 1500


def test_each_reason_and_each_failure_is_counted() -> None:
    totals = Totals()
    for event in (
        Retired(at_s=0, machine=1, why=Why.AGED),
        Retired(at_s=0, machine=2, why=Why.LOST, step=Step.PAUSED),
        Refused(at_s=0, ticket=1, why=Why.LATE),
        Taken(at_s=0, machine=3, queue_ms=1, hand_out_ms=2),
    ):
        totals = totals.after(event)
    assert totals.counts == {
        "retired": 2,
        "retired.aged": 1,
        "retired.lost": 1,
        "refused": 1,
        "refused.late": 1,
        "handed_out": 1,
    }
    assert totals.failures == {Step.PAUSED: 1}


@given(st.lists(st.floats(0, 1000), min_size=6, max_size=6))
def test_the_parts_of_a_wait_add_up_to_the_whole(moments: list[float]) -> None:
    since, *_, now = moments = sorted(moments)
    template = Span(begun_s=moments[1], ended_s=moments[2])
    making = Span(begun_s=moments[3], ended_s=moments[4])
    parts = timings_ms(since, now, template, making)
    assert all(part >= 0 for part in parts.values())
    assert sum(parts.values()) == pytest.approx((now - since) * 1000, abs=1e-3)


def test_work_done_before_the_request_cost_its_owner_nothing() -> None:
    template, making = Span(begun_s=0, ended_s=5), Span(begun_s=5, ended_s=8)
    assert timings_ms(10, 11, template, making) == {
        "queue_ms": 1000,
        "template_ms": 0,
        "restore_ms": 0,
    }
    assert timings_ms(6, 9, template, making)["restore_ms"] == 2000
    assert timings_ms(4, 9, template, making)["template_ms"] == 1000


def test_a_refusal_while_machines_are_being_made_names_them() -> None:
    state = replace(PoolState())
    facts = Facts(now_s=0, free_bytes=None)
    error = refusal(Why.LATE, state, PoolSettings(), facts, None)
    assert "0 are still being made" in str(error)
