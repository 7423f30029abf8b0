"""Whatever happens in whatever order, the schedule keeps its promises."""

from collections import Counter

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from luminaguard.vm.pool.events import (
    Ended,
    GaveUp,
    HandedOut,
    MakingBegun,
    MakingFailed,
    Measured,
    PoolEvent,
    Queued,
    RefreshAsked,
    Refused,
    Requeued,
    Restored,
    Retired,
    Step,
    Switched,
    Taken,
    TemplateBegun,
    TemplateFailed,
    TemplateReady,
    Warmed,
    WarmingBegun,
    Why,
)
from luminaguard.vm.pool.schedule import RESPITE_S, Facts, decide, next_due_s
from luminaguard.vm.pool.settings import MIB, PoolSettings
from luminaguard.vm.pool.state import Phase, PoolState, Waiter

OWNERS = ["greedy", "second", "third"]
TOTAL_BYTES = 2048 * MIB
CLONE_BYTES, LEASED_BYTES = 70 * MIB, 140 * MIB


class PoolLife(RuleBasedStateMachine):
    """A pool whose work is done, or fails, by Hypothesis; it carries out every decision."""

    def __init__(self) -> None:
        super().__init__()
        self.now_s = 0.0
        self.state = PoolState()
        self.next_ticket = 0
        self.ever_handed_out: set[int] = set()
        self.given: dict[int, Waiter] = {}
        """Machine → who has it."""
        self.overtaken: dict[int, Counter[str]] = {}
        """Ticket that is its owner's first in line → hand-outs to others meanwhile."""
        self.alive: dict[int, int] = {}
        """Machine → bytes that it really takes."""

    @initialize(
        size=st.integers(0, 4),
        more=st.integers(0, 5),
        waiting=st.integers(1, 6),
        at_once=st.integers(1, 3),
    )
    def open(self, size: int, more: int, waiting: int, at_once: int) -> None:
        self.settings = PoolSettings(
            size=size,
            max_machines=max(size + more, 1),
            max_waiting=waiting,
            patience_s=60,
            max_age_s=500,
            lease_s=300,
            memory_reserve_mib=1024,
            at_once=at_once,
            check_s=100,
        )
        self.settle()

    @property
    def facts(self) -> Facts:
        return Facts(now_s=self.now_s, free_bytes=TOTAL_BYTES - sum(self.alive.values()))

    def happen(self, *events: PoolEvent) -> None:
        for event in events:
            self.state = event.after(self.state)
        self.settle()

    def settle(self) -> None:
        """Carry out what is decided, checking each decision against the state before it."""
        for decision in decide(self.state, self.settings, self.facts):
            match decision:
                case HandedOut():
                    self.check_hand_out(decision)
                case MakingBegun():
                    self.check_making(decision)
                case Switched():
                    assert self.state.incoming is not None
                case Refused():
                    self.overtaken.pop(decision.ticket, None)
                case Retired():
                    assert self.state.machines[decision.machine].phase is not Phase.ENDING
                case WarmingBegun():
                    assert self.state.machines[decision.machine].phase is Phase.RESTORED
                case _:
                    assert isinstance(decision, TemplateBegun)
            self.state = decision.after(self.state)
        assert decide(self.state, self.settings, self.facts) == (), "it does not come to rest"

    def check_hand_out(self, decision: HandedOut) -> None:
        machine = self.state.machines[decision.machine]
        waiter = self.state.waiter(decision.ticket)
        assert waiter is not None
        assert machine.number not in self.ever_handed_out, "handed out twice"
        assert machine.phase in {Phase.WARM, Phase.RESTORED}
        assert machine.number in self.alive
        assert self.now_s < machine.made_s + self.settings.max_age_s, "too old"
        assert self.state.serving is not None
        assert machine.template == self.state.serving.key, "of another template"
        assert waiter.deadline_s > self.now_s
        self.ever_handed_out.add(machine.number)
        self.given[machine.number] = waiter
        self.overtaken.pop(waiter.ticket, None)
        first = {one.owner: one.ticket for one in reversed(self.state.waiters)}
        for owner, ticket in first.items():
            if owner != waiter.owner:
                counts = self.overtaken.setdefault(ticket, Counter())
                counts[waiter.owner] += 1
                assert counts[waiter.owner] <= 2, f"{owner} starves while {waiter.owner} is served"

    def check_making(self, decision: MakingBegun) -> None:
        assert decision.machine not in self.state.machines
        assert len(self.state.machines) < self.settings.max_machines
        assert self.now_s >= self.state.retry_s, "made again too soon after a failure"
        assert self.state.count(Phase.MAKING) < self.settings.at_once
        newest = self.state.incoming or self.state.serving
        assert newest is not None
        assert decision.template == newest.key, "made from a template that is being replaced"
        unborn = self.state.count(Phase.MAKING) * CLONE_BYTES
        free_bytes = self.facts.free_bytes or 0
        assert free_bytes - unborn - CLONE_BYTES >= self.settings.memory_reserve_bytes

    def numbers(self, *phases: Phase) -> list[int]:
        return [machine.number for machine in self.state.having(*phases)]

    @rule(owner=st.sampled_from(OWNERS), count=st.integers(1, 4))
    def ask(self, owner: str, count: int) -> None:
        for _ in range(count):
            self.next_ticket += 1
            deadline_s = self.now_s + self.settings.patience_s
            ticket = self.next_ticket
            self.happen(Queued(at_s=self.now_s, ticket=ticket, owner=owner, deadline_s=deadline_s))

    @precondition(lambda self: self.state.waiters)
    @rule(data=st.data())
    def give_up(self, data: st.DataObject) -> None:
        waiter = data.draw(st.sampled_from(self.state.waiters))
        self.overtaken.clear()
        self.happen(GaveUp(at_s=self.now_s, ticket=waiter.ticket))

    @precondition(lambda self: self.state.template_busy)
    @rule(key=st.sampled_from(["old", "new", "newest"]))
    def template_made(self, key: str) -> None:
        self.happen(TemplateReady(at_s=self.now_s, key=key))

    @precondition(lambda self: self.state.template_busy)
    @rule()
    def template_fails(self) -> None:
        self.happen(TemplateFailed(at_s=self.now_s))

    @precondition(lambda self: self.numbers(Phase.MAKING))
    @rule(data=st.data())
    def answers(self, data: st.DataObject) -> None:
        machine = data.draw(st.sampled_from(self.numbers(Phase.MAKING)))
        self.alive[machine] = CLONE_BYTES
        self.happen(Restored(at_s=self.now_s, machine=machine, spawn_ms=1.0))

    @precondition(lambda self: self.numbers(Phase.MAKING))
    @rule(data=st.data(), stale=st.booleans(), hopeless=st.booleans())
    def making_fails(self, data: st.DataObject, stale: bool, hopeless: bool) -> None:
        machine = data.draw(st.sampled_from(self.numbers(Phase.MAKING)))
        self.happen(MakingFailed(at_s=self.now_s, machine=machine, stale=stale, hopeless=hopeless))

    @precondition(lambda self: self.numbers(Phase.WARMING))
    @rule(data=st.data())
    def warmed(self, data: st.DataObject) -> None:
        machine = data.draw(st.sampled_from(self.numbers(Phase.WARMING)))
        used = Measured(at_s=self.now_s, machine=machine, used_bytes=CLONE_BYTES)
        self.happen(Warmed(at_s=self.now_s, machine=machine), used)

    @precondition(lambda self: self.numbers(Phase.LEASED))
    @rule(data=st.data())
    def taken_and_grown(self, data: st.DataObject) -> None:
        machine = data.draw(st.sampled_from(self.numbers(Phase.LEASED)))
        self.alive[machine] = LEASED_BYTES
        taken = Taken(at_s=self.now_s, machine=machine, queue_ms=0, hand_out_ms=0)
        self.happen(taken, Measured(at_s=self.now_s, machine=machine, used_bytes=LEASED_BYTES))

    @precondition(lambda self: self.numbers(Phase.LEASED, Phase.WARM, Phase.WARMING))
    @rule(data=st.data(), why=st.sampled_from([Why.RELEASED, Why.LOST, Why.ORPHANED]))
    def retired(self, data: st.DataObject, why: Why) -> None:
        """A lease ends, or a machine is found dead."""
        numbers = self.numbers(Phase.LEASED, Phase.WARM, Phase.WARMING)
        machine = data.draw(st.sampled_from(numbers))
        step = Step.PAUSED if why is Why.LOST else None
        self.happen(Retired(at_s=self.now_s, machine=machine, why=why, step=step))

    @precondition(lambda self: self.numbers(Phase.LEASED))
    @rule(data=st.data())
    def dead_at_hand_out(self, data: st.DataObject) -> None:
        machine = data.draw(st.sampled_from(self.numbers(Phase.LEASED)))
        waiter = self.given[machine]
        self.overtaken.clear()
        retired = Retired(at_s=self.now_s, machine=machine, why=Why.LOST, step=Step.HAND_OUT)
        self.happen(retired, Requeued(at_s=self.now_s, waiter=waiter))

    @precondition(lambda self: self.numbers(Phase.ENDING))
    @rule(data=st.data())
    def ended(self, data: st.DataObject) -> None:
        machine = data.draw(st.sampled_from(self.numbers(Phase.ENDING)))
        self.alive.pop(machine, None)
        self.happen(Ended(at_s=self.now_s, machine=machine))

    @rule()
    def refresh(self) -> None:
        self.happen(RefreshAsked(at_s=self.now_s))

    @rule(seconds=st.sampled_from([0.1, 1.0, 10.0, 40.0, 250.0]))
    def time_passes(self, seconds: float) -> None:
        self.now_s += seconds
        self.settle()

    @rule()
    def time_passes_to_the_next_due_moment(self) -> None:
        due_s = next_due_s(self.state, self.settings, self.now_s)
        if due_s != float("inf"):
            assert due_s > self.now_s
            self.now_s = due_s
            self.settle()

    @invariant()
    def bounds_hold(self) -> None:
        if not hasattr(self, "settings"):
            return
        assert len(self.state.machines) <= self.settings.max_machines
        assert len(self.state.waiters) <= self.settings.max_waiting
        assert sum(self.alive.values()) <= TOTAL_BYTES, "memory is exhausted"
        assert all(waiter.deadline_s > self.now_s for waiter in self.state.waiters)
        assert all(one.expires_s > self.now_s for one in self.state.having(Phase.LEASED))

    def teardown(self) -> None:
        """From wherever it is: when all works again, everybody is served and the store is full."""
        if not hasattr(self, "settings"):
            return
        for _ in range(400):
            if not self.one_thing_goes_well():
                break
        assert self.state.waiters == ()
        assert self.state.count(Phase.LEASED) == 0
        assert self.state.count(Phase.WARM) == self.settings.size == len(self.state.machines)
        assert self.state.incoming is None

    def one_thing_goes_well(self) -> bool:
        state = self.state
        if state.template_busy:
            self.happen(TemplateReady(at_s=self.now_s, key="newest"))
        elif making := self.numbers(Phase.MAKING):
            self.alive[making[0]] = CLONE_BYTES
            self.happen(Restored(at_s=self.now_s, machine=making[0], spawn_ms=1.0))
        elif warming := self.numbers(Phase.WARMING):
            self.happen(Warmed(at_s=self.now_s, machine=warming[0]))
        elif leased := self.numbers(Phase.LEASED):
            self.happen(Retired(at_s=self.now_s, machine=leased[0], why=Why.RELEASED))
        elif ending := self.numbers(Phase.ENDING):
            self.alive.pop(ending[0], None)
            self.happen(Ended(at_s=self.now_s, machine=ending[0]))
        elif state.retry_s > self.now_s:
            self.now_s = state.retry_s
            self.settle()
        elif (due_s := state.respite_s + RESPITE_S) > self.now_s:
            self.now_s = due_s
            self.settle()
        else:
            return False
        return True


PoolLife.TestCase.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
test_a_pool_keeps_its_promises_whatever_happens = PoolLife.TestCase
