"""Single decisions of the schedule, each in the situation that calls for it."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import pytest

from luminaguard.vm.pool.events import (
    FIRST_RETRY_S,
    LAST_RETRY_S,
    Ended,
    GaveUp,
    MakingBegun,
    MakingFailed,
    Measured,
    PoolEvent,
    Queued,
    RefreshAsked,
    Refused,
    Restored,
    Retired,
    TemplateBegun,
    TemplateReady,
    Warmed,
    WarmingBegun,
    Why,
)
from luminaguard.vm.pool.schedule import RESPITE_S, Facts, decide, next_due_s
from luminaguard.vm.pool.settings import MIB, PoolSettings
from luminaguard.vm.pool.state import FIRST_CLONE_BYTES, Phase, PoolState


@dataclass
class Pool:
    """A pool whose work is always done at once and well, unless a test stops it."""

    settings: PoolSettings
    state: PoolState = field(default_factory=PoolState)
    now_s: float = 0.0
    free_bytes: int | None = None
    image: str = "a"
    works: bool = True
    taken: list[PoolEvent] = field(default_factory=list[PoolEvent])
    tickets: int = 0

    def happen(self, *events: PoolEvent) -> None:
        for event in events:
            self.state = event.after(self.state)
        self.settle()

    def settle(self) -> None:
        """Decide and do the work until nothing is left to do."""
        facts = Facts(now_s=self.now_s, free_bytes=self.free_bytes)
        while decided := decide(self.state, self.settings, facts):
            for decision in decided:
                self.state = decision.after(self.state)
            self.taken += decided
            for event in [done for one in decided for done in self.done(one)]:
                self.state = event.after(self.state)

    def done(self, decision: PoolEvent) -> Sequence[PoolEvent]:
        at_s = self.now_s
        match decision:
            case TemplateBegun():
                return [TemplateReady(at_s=at_s, key=self.image)]
            case MakingBegun(machine=number) if not self.works:
                return [MakingFailed(at_s=at_s, machine=number, stale=False, hopeless=False)]
            case MakingBegun(machine=number):
                return [Restored(at_s=at_s, machine=number, spawn_ms=1)]
            case WarmingBegun(machine=number):
                return [Warmed(at_s=at_s, machine=number)]
            case Retired(machine=number):
                return [Ended(at_s=at_s, machine=number)]
            case _:
                return []

    def ask(self, *owners: str) -> None:
        for owner in owners:
            self.tickets += 1
            deadline_s = self.now_s + self.settings.patience_s
            self.happen(
                Queued(at_s=self.now_s, ticket=self.tickets, owner=owner, deadline_s=deadline_s)
            )

    def release_one(self) -> None:
        leased = next(self.state.having(Phase.LEASED))
        self.happen(
            Retired(at_s=self.now_s, machine=leased.number, why=Why.RELEASED),
            Ended(at_s=self.now_s, machine=leased.number),
        )

    def rest(self) -> None:
        """Let the moment after a hand-out pass."""
        self.now_s += 1
        self.settle()

    def whys(self, kind: type[Refused] | type[Retired]) -> list[Why]:
        return [one.why for one in self.taken if isinstance(one, kind)]


def full(**settings: float) -> Pool:
    pool = Pool(PoolSettings(**{"size": 2, "max_machines": 4, **settings}))  # type: ignore[arg-type]
    pool.settle()
    assert pool.state.count(Phase.WARM) == pool.settings.size
    pool.taken.clear()
    return pool


def test_owners_take_turns_however_many_machines_one_of_them_wants() -> None:
    pool = full(size=0, max_machines=1)
    pool.ask("holder")
    pool.ask("greedy", "greedy", "greedy", "greedy", "modest", "late")
    served: list[str] = []
    for _ in range(6):
        pool.release_one()
        served.append(next(pool.state.having(Phase.LEASED)).owner)
    assert served == ["greedy", "modest", "late", "greedy", "greedy", "greedy"]


def test_a_stream_of_newcomers_does_not_starve_who_was_served_before() -> None:
    pool = full(size=0, max_machines=1)
    pool.ask("old", "old")
    served: list[str] = []
    for number in range(5):
        pool.ask(f"new-{number}")
        pool.release_one()
        served.append(next(pool.state.having(Phase.LEASED)).owner)
    assert "old" in served[:2]


def test_who_gives_up_one_request_loses_no_turn() -> None:
    pool = full(size=0, max_machines=1)
    pool.ask("holder", "patient", "patient", "other", "other")
    pool.happen(GaveUp(at_s=0, ticket=2))
    pool.release_one()
    assert next(pool.state.having(Phase.LEASED)).owner == "patient"


def test_one_owner_cannot_keep_others_out_by_filling_the_queue() -> None:
    pool = full(size=0, max_machines=1, max_waiting=4)
    pool.ask("holder")
    pool.ask(*["greedy"] * 9)
    assert pool.whys(Refused) == [Why.FULL] * 5
    pool.ask("modest")
    assert [waiter.owner for waiter in pool.state.waiters] == ["greedy"] * 3 + ["modest"]


def test_requests_that_are_served_at_once_do_not_count_as_waiting() -> None:
    pool = full(size=4, max_machines=4, max_waiting=1)
    pool.ask("a", "b", "c", "d")
    assert pool.whys(Refused) == []


def test_the_store_is_filled_again_as_machines_are_handed_out() -> None:
    pool = full()
    pool.ask("one")
    pool.rest()
    assert (pool.state.count(Phase.LEASED), pool.state.count(Phase.WARM)) == (1, 2)
    pool.ask("two", "three")
    pool.rest()
    assert (pool.state.count(Phase.LEASED), pool.state.count(Phase.WARM)) == (3, 1)
    pool.ask("four", "five")
    assert (pool.state.count(Phase.LEASED), len(pool.state.waiters)) == (4, 1)


def test_a_machine_just_handed_out_has_the_processors_to_itself_for_a_moment() -> None:
    pool = full()
    pool.ask("one")
    assert not any(isinstance(one, MakingBegun) for one in pool.taken)
    assert next_due_s(pool.state, pool.settings, pool.now_s) == pool.now_s + RESPITE_S
    pool.rest()
    assert any(isinstance(one, MakingBegun) for one in pool.taken)


def test_a_steady_stream_of_requests_does_not_keep_the_store_empty() -> None:
    pool = full(max_machines=60)
    for _ in range(20):
        pool.now_s += 0.1
        pool.settle()
        pool.ask("one")
    assert pool.state.count(Phase.WARM) == 2


def test_the_store_is_never_smaller_while_a_new_template_takes_over() -> None:
    pool = full(size=2, max_machines=4, at_once=1)
    least = 2
    pool.image = "b"
    pool.state = RefreshAsked(at_s=0).after(pool.state)
    facts = Facts(now_s=0, free_bytes=None)
    while decided := decide(pool.state, pool.settings, facts):
        for decision in decided:
            pool.state = decision.after(pool.state)
            least = min(least, pool.state.count(Phase.WARM))
        for decision in decided:
            for event in pool.done(decision):
                pool.state = event.after(pool.state)
    assert least == 2
    assert {one.template for one in pool.state.machines.values()} == {"b"}


def test_without_room_for_both_old_and_new_are_exchanged_one_by_one() -> None:
    pool = full(size=3, max_machines=3)
    pool.image = "b"
    pool.happen(RefreshAsked(at_s=0))
    assert pool.whys(Retired) == [Why.ROOM] * 3
    assert [one.template for one in pool.state.having(Phase.WARM)] == ["b"] * 3


def test_machines_of_an_abandoned_template_are_not_kept() -> None:
    pool = full(size=2, max_machines=8)
    pool.happen(
        TemplateReady(at_s=0, key="b"),
    )
    pool.happen(TemplateReady(at_s=0, key="a"))
    assert {one.template for one in pool.state.machines.values()} == {pool.state.serving.key}  # type: ignore[union-attr]


def test_replacements_are_made_before_machines_become_too_old() -> None:
    pool = full(size=2, max_machines=8, max_age_s=100, check_s=10_000)
    due_s = next_due_s(pool.state, pool.settings, pool.now_s)
    assert due_s == pytest.approx(90)
    pool.now_s = due_s + 0.1
    pool.settle()
    assert pool.whys(Retired) == [Why.AGED] * 2
    kinds = [type(one) for one in pool.taken]
    assert kinds.index(MakingBegun) < kinds.index(Retired)


def test_a_machine_too_old_is_not_handed_out_even_to_someone_in_need() -> None:
    pool = full(size=1, max_machines=1, max_age_s=100, check_s=10_000)
    pool.works = False
    pool.now_s = 100
    pool.ask("one")
    assert pool.state.count(Phase.LEASED) == 0
    assert pool.whys(Retired) == [Why.AGED]


def test_failures_are_retried_ever_more_slowly() -> None:
    pool = Pool(PoolSettings(size=1, at_once=1), works=False)
    pool.settle()
    waits: list[float] = []
    for _ in range(12):
        due_s = next_due_s(pool.state, pool.settings, pool.now_s)
        waits.append(pool.state.retry_s - pool.now_s)
        assert due_s <= pool.state.retry_s
        before = len(pool.taken)
        pool.now_s = pool.state.retry_s - 0.01
        pool.state = replace(pool.state, serving=replace(pool.state.serving, checked_s=pool.now_s))  # type: ignore[arg-type, type-var]
        pool.settle()
        assert len(pool.taken) == before, "it tried too soon"
        pool.now_s = pool.state.retry_s
        pool.settle()
    assert waits[0] == FIRST_RETRY_S
    assert waits == sorted(waits)
    assert waits[-1] == LAST_RETRY_S
    pool.works = True
    pool.now_s = pool.state.retry_s
    pool.settle()
    assert (pool.state.count(Phase.WARM), pool.state.failures) == (1, 0)


def test_after_three_failures_nobody_waits_in_vain() -> None:
    pool = Pool(PoolSettings(size=0, at_once=1), works=False)
    pool.settle()
    pool.ask("one")
    for _ in range(2):
        assert pool.whys(Refused) == []
        pool.now_s = pool.state.retry_s
        pool.settle()
    assert pool.whys(Refused) == [Why.BROKEN]


def test_no_machine_is_made_that_would_use_the_reserve() -> None:
    clone = FIRST_CLONE_BYTES
    settings = PoolSettings(size=5, max_machines=9, memory_reserve_mib=100)
    pool = Pool(settings, free_bytes=100 * MIB + 3 * clone)
    pool.settle()
    assert pool.state.count(Phase.WARM) == 3


def test_machines_in_use_are_expected_to_grow() -> None:
    settings = PoolSettings(size=0, max_machines=9, memory_reserve_mib=100)
    pool = Pool(settings)
    pool.free_bytes = 100 * MIB + 4 * pool.state.leased_bytes
    pool.settle()
    pool.ask(*"abcdef")
    assert pool.state.count(Phase.LEASED) == 4
    assert len(pool.state.waiters) == 2


def test_what_was_measured_replaces_what_was_expected() -> None:
    pool = full(size=1, max_machines=1)
    (machine,) = pool.state.having(Phase.WARM)
    for _ in range(50):
        pool.happen(Measured(at_s=0, machine=machine.number, used_bytes=20 * MIB))
    assert pool.state.used_bytes == 20 * MIB
    assert pool.state.warm_bytes == pytest.approx(20 * MIB, rel=0.05)
    pool.happen(Measured(at_s=0, machine=99, used_bytes=1))
    assert pool.state.used_bytes == 20 * MIB


def test_when_memory_runs_low_the_store_gives_its_own_back_and_keeps_calm() -> None:
    pool = full(size=3, max_machines=4, memory_reserve_mib=1000)
    pool.free_bytes = 400 * MIB
    facts = Facts(now_s=0, free_bytes=pool.free_bytes)
    (decision,) = decide(pool.state, pool.settings, facts)
    assert isinstance(decision, Retired)
    assert decision.why is Why.MEMORY
    pool.state = decision.after(pool.state)
    assert decide(pool.state, pool.settings, facts) == (), "one at a time"
    pool.state = Ended(at_s=0, machine=decision.machine).after(pool.state)
    pool.free_bytes = 900 * MIB
    pool.taken.clear()
    pool.settle()
    assert pool.taken == [], "what was given back is not taken again"


def test_nothing_due_means_no_wake_up() -> None:
    assert next_due_s(PoolState(), PoolSettings(), 0.0) == float("inf")
