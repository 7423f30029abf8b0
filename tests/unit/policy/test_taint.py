"""What a session has seen, and what that makes of a way out."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from luminaguard.domain.calls import ToolCall
from luminaguard.domain.verdict import Lane, Risk, Verdict
from luminaguard.policy.findings import Finding, pure_read, unknown_effect, verdict_of
from luminaguard.policy.mcp import McpCall
from luminaguard.policy.taint import (
    CLEAN,
    Taint,
    is_tainted,
    seen_in_mcp,
    seen_in_path,
    seen_in_verdict,
    tainted,
)

ARMED = Taint(private=("mail",), untrusted=("a web page",))
SENDS = Finding(
    lane=Lane.RED, risk=Risk.HIGH, rule="mcp-sends", reason="sends", reaches=("MCP server 'chat'",)
)
taints = st.builds(
    Taint,
    private=st.lists(st.text(max_size=3)).map(tuple),
    untrusted=st.lists(st.text(max_size=3)).map(tuple),
)


def mcp(tool: str, server: str = "server", **arguments: str) -> McpCall:
    return McpCall(server=server, call=ToolCall(call_id="c", tool=tool, arguments=arguments))


@pytest.mark.guarantee("G5")
def test_with_private_data_and_strangers_text_seen_a_way_out_is_critical() -> None:
    verdict = verdict_of(tainted([SENDS], ARMED))
    assert (verdict.lane, verdict.risk) == (Lane.RED, Risk.CRITICAL)
    assert is_tainted(verdict)
    assert "mail" in verdict.reasons[-1]


@pytest.mark.parametrize("taint", [CLEAN, Taint(private=("mail",)), Taint(untrusted=("web",))])
def test_one_of_the_two_alone_changes_nothing(taint: Taint) -> None:
    assert tainted([SENDS], taint) == [SENDS]


def test_what_stays_inside_is_no_way_out() -> None:
    inside = [pure_read("reading"), unknown_effect("make"), Finding(
        lane=Lane.GREEN, risk=Risk.LOW, rule="pure-read", reason="", reaches=("MCP server 'a'",)
    )]  # fmt: skip
    assert tainted(inside, ARMED) == inside


@pytest.mark.guarantee("G5")
def test_a_rule_that_means_leaving_is_a_way_out_without_a_named_place() -> None:
    leaves = Finding(lane=Lane.RED, risk=Risk.HIGH, rule="leaves-machine", reason="curl")
    assert is_tainted(verdict_of(tainted([leaves], ARMED)))


@given(taints, taints, taints)
def test_taint_only_ever_grows(one: Taint, two: Taint, three: Taint) -> None:
    assert (one | two).is_armed >= (one.is_armed or two.is_armed)
    kinds = [(bool(t.private), bool(t.untrusted)) for t in (one, two, three)]
    for joined in ((one | two) | three, one | (two | three), three | two | one):
        assert bool(joined.private) == any(private for private, _ in kinds)
        assert bool(joined.untrusted) == any(untrusted for _, untrusted in kinds)
    assert (one | CLEAN).key == one.key


@given(taints, taints)
def test_verdicts_are_the_same_where_the_key_is(one: Taint, two: Taint) -> None:
    if one.key == two.key:
        assert tainted([SENDS], one) == tainted([SENDS], two)
    longer = Taint(private=(*one.private, "z"), untrusted=(*one.untrusted, "z"))
    if one.is_armed:
        assert longer.key == one.key, "what is seen later changes no verdict"


@pytest.mark.parametrize(
    ("tool", "server"),
    [
        ("read_inbox", "chat"),
        ("get_unread_emails", "x"),
        ("search", "gmail"),
        ("query", "postgres"),
        ("getTransactions", "bank"),
        ("get_user_info", "x"),
        ("list_events", "calendar"),
        ("get-env", "x"),
        ("read_file", "drive"),
    ],
)
def test_results_about_what_people_keep_to_themselves_are_private(tool: str, server: str) -> None:
    assert seen_in_mcp(mcp(tool, server)).is_armed


@pytest.mark.parametrize("tool", ["get_weather", "search_web", "list_issues", "get_current_time"])
def test_every_result_of_a_server_is_text_of_others(tool: str) -> None:
    seen = seen_in_mcp(mcp(tool))
    assert (seen.private, seen.untrusted) == ((), ("MCP server 'server'",))


def test_an_argument_that_names_a_secret_makes_the_result_private() -> None:
    assert seen_in_mcp(mcp("lookup", password="x")).private


def test_secrets_and_what_came_from_beyond_are_seen_in_a_verdict() -> None:
    verdict = Verdict(
        lane=Lane.RED, risk=Risk.HIGH, rules=(), reasons=(), secrets=(".env",), reaches=("x.org",)
    )
    assert seen_in_verdict(verdict) == Taint(private=(".env",), untrusted=("x.org",))


@pytest.mark.parametrize(
    ("path", "is_private"),
    [
        ("/home/u/work/a.py", False),
        ("/home/u/notes.txt", True),
        ("/home/u/work/.env", True),
        ("/usr/share/doc", False),
        ("/root/x", True),
        ("/home/u/workshop/a", True),
    ],
)
def test_files_of_a_home_outside_of_the_workspace_are_private(path: str, is_private: bool) -> None:
    assert bool(seen_in_path(path, "/home/u/work").private) is is_private
