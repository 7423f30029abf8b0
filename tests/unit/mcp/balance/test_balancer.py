"""Which endpoint is next, on a clock of the test's own."""

import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from luminaguard.mcp.balance.balancer import MOST_SESSIONS, Balancer, Member
from luminaguard.mcp.balance.breaker import Breaker, BreakerSettings, Circuit
from luminaguard.mcp.servers import Endpoint, Strategy

SETTINGS = BreakerSettings(failures=3, first_open_s=1.0, longest_open_s=8.0, probe_s=60.0)


def balancer(
    count: int = 3, strategy: Strategy = Strategy.ROUND_ROBIN, weights: tuple[int, ...] = ()
) -> Balancer:
    one = Balancer(strategy=strategy, connections=4, settings=SETTINGS)
    for number in range(count):
        weight = weights[number] if weights else 1
        one.add(Endpoint(url=f"http://{number}/", weight=weight))
    return one


def take(one: Balancer, now_s: float = 0.0, **how: object) -> str:
    """Send one request that is answered at once."""
    member = one.pick(now_s, **how)  # type: ignore[arg-type]
    if member is None:
        return ""
    one.began(member, now_s, session=str(how.get("session", "")))
    one.answered(member, 0.1)
    return member.url


def open_up(one: Balancer, member: Member, now_s: float = 0.0) -> None:
    one.began(member, now_s)
    one.failed(member, now_s, at_once=True)


def test_a_breaker_opens_after_failures_in_a_row_only() -> None:
    breaker = Breaker(settings=SETTINGS)
    for _ in range(2):
        breaker = breaker.failed(0.0)
    breaker = breaker.succeeded()
    for _ in range(2):
        breaker = breaker.failed(0.0)
    assert breaker.circuit is Circuit.CLOSED
    assert breaker.failed(0.0).circuit is Circuit.OPEN


def test_a_failure_that_leaves_no_doubt_opens_at_once() -> None:
    assert Breaker(settings=SETTINGS).failed(0.0, at_once=True).circuit is Circuit.OPEN


def test_an_open_breaker_lets_one_probe_through_when_it_is_time() -> None:
    breaker = Breaker(settings=SETTINGS).failed(0.0, at_once=True)
    assert not breaker.may_send(0.99)
    assert breaker.may_send(1.0)
    probing = breaker.probing(1.0)
    assert probing.circuit is Circuit.HALF_OPEN
    assert not probing.may_send(2.0)


def test_a_probe_decides() -> None:
    probing = Breaker(settings=SETTINGS).failed(0.0, at_once=True).probing(1.0)
    assert probing.succeeded() == Breaker(settings=SETTINGS)
    assert probing.failed(1.0).circuit is Circuit.OPEN


def test_each_opening_lasts_longer_up_to_a_limit() -> None:
    breaker, now_s, waits = Breaker(settings=SETTINGS), 0.0, []
    for _ in range(6):
        breaker = breaker.failed(now_s, at_once=True)
        waits.append(breaker.until_s - now_s)
        now_s = breaker.until_s
        breaker = breaker.probing(now_s)
    assert waits == [1, 2, 4, 8, 8, 8]


def test_a_server_that_asks_for_time_gets_exactly_that() -> None:
    assert Breaker(settings=SETTINGS).failed(5.0, wait_s=30.0).until_s == 35.0
    assert Breaker(settings=SETTINGS).failed(5.0, wait_s=0.2).until_s == 5.2


def test_a_probe_that_never_ends_does_not_keep_an_endpoint_out_forever() -> None:
    probing = Breaker(settings=SETTINGS).failed(0.0, at_once=True).probing(1.0)
    assert probing.may_send(61.0)


def test_turns_go_round() -> None:
    one = balancer()
    assert [take(one) for _ in range(6)] == ["http://0/", "http://1/", "http://2/"] * 2


def test_weighted_turns_are_shares_without_bursts() -> None:
    one = balancer(3, Strategy.WEIGHTED, (5, 1, 1))
    turns = [take(one)[7] for _ in range(7)]
    assert "".join(turns) == "0010200"


@given(st.lists(st.integers(1, 20), min_size=1, max_size=6))
def test_over_one_round_each_gets_exactly_its_weight(weights: list[int]) -> None:
    one = balancer(len(weights), Strategy.WEIGHTED, tuple(weights))
    counted = Counter(take(one) for _ in range(sum(weights)))
    assert [counted[f"http://{number}/"] for number in range(len(weights))] == weights


def test_the_least_busy_is_next() -> None:
    one = balancer(3, Strategy.LEAST_CONNECTIONS)
    held = [one.pick(0.0) for _ in range(1)]
    assert held[0] is not None
    one.began(held[0], 0.0)
    assert held[0].url not in {take(one) for _ in range(4)}


def test_a_full_endpoint_is_passed_over_and_all_full_means_nobody() -> None:
    one = balancer(2)
    for _ in range(8):
        member = one.pick(0.0)
        assert member is not None
        one.began(member, 0.0)
    assert one.pick(0.0) is None
    assert [member.in_flight for member in one.members] == [4, 4]


def test_a_session_stays_where_it_was() -> None:
    one = balancer()
    assert len({take(one, session="a") for _ in range(5)}) == 1


def test_a_session_moves_when_its_endpoint_fails_and_stays_there() -> None:
    one = balancer()
    home = take(one, session="a")
    open_up(one, next(member for member in one.members if member.url == home))
    moved = {take(one, session="a") for _ in range(4)}
    assert len(moved) == 1
    assert home not in moved


def test_sessions_are_forgotten_in_the_end() -> None:
    one = balancer(2)
    for number in range(MOST_SESSIONS + 10):
        take(one, session=f"s{number}")
    assert len(one._sessions) == MOST_SESSIONS


def test_what_failed_already_is_avoided_while_there_is_another() -> None:
    one = balancer(2)
    assert {take(one, avoid=["http://0/"]) for _ in range(4)} == {"http://1/"}
    assert take(one, avoid=["http://0/", "http://1/"]) != ""


def test_an_open_endpoint_gets_a_request_only_as_a_probe() -> None:
    one = balancer(1)
    open_up(one, one.members[0])
    assert one.pick(0.5) is None
    assert one.pick(1.5, probes=False) is None
    assert one.pick(1.5) is one.members[0]
    assert one.next_due_s() == 1.0


def test_an_ejected_endpoint_gets_nothing_until_it_is_readmitted() -> None:
    one = balancer(1)
    one.eject(one.members[0], "other tools")
    assert one.pick(0.0) is None
    assert one.next_due_s() == float("inf")
    one.readmit(one.members[0])
    assert one.pick(0.0) is one.members[0]


def test_an_endpoint_that_is_added_again_keeps_its_account() -> None:
    one = balancer(1)
    take(one)
    member = one.add(Endpoint(url="http://0/", weight=9))
    assert (member.requests, member.endpoint.weight) == (1, 9)


def test_a_removed_endpoint_is_not_chosen_even_by_its_sessions() -> None:
    one = balancer(2)
    home = take(one, session="a")
    one.remove(home)
    assert take(one, session="a") not in {home, ""}


def test_giving_up_says_nothing_about_the_endpoint() -> None:
    one = balancer(1)
    member = one.members[0]
    for _ in range(10):
        one.began(member, 0.0)
        one.gave_up(member)
    assert (member.in_flight, member.breaker.circuit) == (0, Circuit.CLOSED)


def test_figures_tell_what_happened() -> None:
    one = balancer(1)
    take(one)
    open_up(one, one.members[0])
    figures = one.metrics()[0].as_json()
    assert figures == {
        "url": "http://0/",
        "circuit": "open",
        "in_flight": 0,
        "requests": 2,
        "failures": 1,
        "retried": 0,
        "openings": 1,
        "mean_s": pytest.approx(0.1),
        "ejected": "",
    }


class AnyOrder(RuleBasedStateMachine):
    """Whatever happens in whatever order: accounts are right, limits hold, nobody is locked out."""

    def __init__(self) -> None:
        super().__init__()
        self.one = balancer(0, random.choice(list(Strategy)))
        self.now_s = 0.0
        self.held: list[Member] = []

    @rule(number=st.integers(0, 4), weight=st.integers(1, 5))
    def add(self, number: int, weight: int) -> None:
        self.one.add(Endpoint(url=f"http://{number}/", weight=weight))

    @rule(number=st.integers(0, 4))
    def remove(self, number: int) -> None:
        self.one.remove(f"http://{number}/")

    @rule(session=st.sampled_from(["", "a", "b"]))
    def begin(self, session: str) -> None:
        member = self.one.pick(self.now_s, session=session)
        if member is not None:
            assert member in self.one.members
            assert not member.ejected
            assert member.breaker.may_send(self.now_s)
            self.one.began(member, self.now_s, session=session)
            self.held.append(member)

    @precondition(lambda self: self.held)
    @rule(how=st.sampled_from(["answered", "failed", "refused", "gave up"]))
    def finish(self, how: str) -> None:
        member = self.held.pop(0)
        match how:
            case "answered":
                self.one.answered(member, 0.1)
            case "gave up":
                self.one.gave_up(member)
            case _:
                self.one.failed(member, self.now_s, at_once=how == "refused")

    @rule(by_s=st.floats(0.0, 100.0))
    def wait(self, by_s: float) -> None:
        self.now_s += by_s

    @rule(number=st.integers(0, 4), out=st.booleans())
    def judge(self, number: int, *, out: bool) -> None:
        for member in self.one.members:
            if member.url == f"http://{number}/":
                (self.one.eject(member, "x") if out else self.one.readmit(member))

    @invariant()
    def accounts_are_right(self) -> None:
        for member in self.one.members:
            mine = [held for held in self.held if held is member]
            assert member.in_flight == len(mine) <= self.one.connections

    @invariant()
    def nobody_is_locked_out_for_good(self) -> None:
        usable = [one for one in self.one.members if not one.ejected and one.in_flight < 4]
        if usable:
            assert self.one.pick(self.now_s + 1000.0) is not None


TestAnyOrder = AnyOrder.TestCase
