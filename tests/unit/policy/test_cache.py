"""Kept verdicts: used again only where everything that they depend on is the same."""

from dataclasses import replace

from luminaguard.domain.calls import JsonValue, ToolCall
from luminaguard.domain.verdict import Lane, Risk, Verdict
from luminaguard.policy.cache import VerdictCache, VerdictKey
from luminaguard.policy.mcp import McpCall, ToolDefinition
from luminaguard.policy.policy import CallContext, Policy
from luminaguard.policy.taint import Taint

KEY = VerdictKey(call="c", workspace="/w", cwd="", taint="")
VERDICT = Verdict(lane=Lane.GREEN, risk=Risk.LOW, rules=("x",), reasons=("x",))


class Judge:
    """Counts how often it is asked."""

    def __init__(self) -> None:
        self.asked = 0

    def __call__(self) -> Verdict:
        self.asked += 1
        return VERDICT


def test_a_known_verdict_is_not_reached_again() -> None:
    cache, judge = VerdictCache(), Judge()
    assert cache.get("v1", KEY, judge) is cache.get("v1", KEY, judge)
    assert judge.asked == 1


def test_another_policy_empties_the_store() -> None:
    cache, judge = VerdictCache(), Judge()
    cache.get("v1", KEY, judge)
    cache.get("v2", KEY, judge)
    assert (judge.asked, len(cache)) == (2, 1)
    cache.get("v1", KEY, judge)
    assert judge.asked == 3


def test_every_part_of_a_key_counts() -> None:
    cache, judge = VerdictCache(), Judge()
    keys = [KEY, replace(KEY, call="d"), replace(KEY, workspace="/x"), replace(KEY, cwd="/w/a"),
            replace(KEY, taint="p"), replace(KEY, server="s"), replace(KEY, trusted=True),
            replace(KEY, definition="d")]  # fmt: skip
    for key in keys:
        cache.get("v", key, judge)
    assert judge.asked == len(keys)


def test_the_store_is_bounded_and_keeps_what_was_used_last() -> None:
    cache, judge = VerdictCache(size=2), Judge()
    one, two, three = (replace(KEY, call=name) for name in "123")
    for key in (one, two, one, three):
        cache.get("v", key, judge)
    assert len(cache) == 2
    asked = judge.asked
    cache.get("v", one, judge)
    assert judge.asked == asked
    cache.get("v", two, judge)
    assert judge.asked == asked + 1


def test_a_judge_that_fails_leaves_nothing_behind() -> None:
    cache = VerdictCache()

    def fails() -> Verdict:
        raise ZeroDivisionError

    for _ in range(2):
        try:
            cache.get("v", KEY, fails)
        except ZeroDivisionError:
            continue
    assert len(cache) == 0


def test_taint_trust_and_definition_make_other_verdicts() -> None:
    policy = Policy()
    armed = Taint(private=("mail",), untrusted=("web",))
    out: dict[str, JsonValue] = {"command": "curl http://x"}
    call = ToolCall(call_id="c", tool="shell", arguments=out)
    clean = policy.judge(call, CallContext(workspace="/w"))
    assert policy.judge(call, CallContext(workspace="/w", taint=armed)) != clean
    assert policy.judge(call, CallContext(workspace="/w")) is clean
    other = Taint(private=("calendar",), untrusted=("web",))
    reasons = policy.judge(call, CallContext(workspace="/w", taint=other)).reasons
    assert "calendar" in " ".join(reasons), "no other session's sources are named"
    said = ToolDefinition(name="read", description="Reads.", annotations={"readOnlyHint": True})
    plain = ToolCall(call_id="c", tool="read", arguments={})
    kept = len(policy.cache)
    for mcp in (
        McpCall(server="s", call=plain),
        McpCall(server="t", call=plain),
        McpCall(server="s", call=plain, trusted=True),
        McpCall(server="s", call=plain, definition=said),
    ):
        policy.judge_mcp(mcp)
    assert len(policy.cache) == kept + 4
