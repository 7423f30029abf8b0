"""What rules make of a verdict: the strictest wins, and nothing ever becomes milder."""

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from luminaguard.domain.calls import ToolCall
from luminaguard.domain.changeset import Change, ChangeKind, Changeset, Mark
from luminaguard.domain.verdict import Lane, Risk, Verdict
from luminaguard.policy.context import CallContext
from luminaguard.policy.policy import Policy
from luminaguard.policy.rules.book import Rulebook, RulesFile
from luminaguard.policy.rules.files import parsed
from luminaguard.policy.rules.read import read_rules
from luminaguard.policy.rules.rule import Tier
from luminaguard.policy.standing import NoStandingYes, StandingYes
from luminaguard.policy.taint import TAINTED, Taint

CONTEXT = CallContext(workspace="/w")
ORDER = [Lane.GREEN, Lane.RED, Lane.FORBIDDEN]


def book(user: str = "", project: str = "") -> Rulebook:
    files = [
        parsed(tier, Path(name), text.encode())
        for tier, name, text in (
            (Tier.USER, "/c/policy.toml", user),
            (Tier.PROJECT, "/w/luminaguard-policy.toml", project),
        )
        if text
    ]
    return Rulebook(files=tuple(files))


def judged(command: str, rules: Rulebook, context: CallContext = CONTEXT) -> Verdict:
    call = ToolCall(call_id="c", tool="shell", arguments={"command": command})
    return Policy(rules).judge(call, context)


def change(path: str, kind: ChangeKind = ChangeKind.MODIFY, *marks: str) -> Change:
    return Change(
        path=path,
        kind=kind,
        before=None,
        after=None,
        marks=tuple(Mark(name=name, why="") for name in marks),
    )


def effect(*changes: Change, dropped: tuple[str, ...] = ()) -> Changeset:
    return Changeset(base="0" * 64, changes=changes, dropped=dropped)


ALLOW = '[[allow]]\nname = "all"\ntool = "*"\n'


@pytest.mark.guarantee("G5")
@pytest.mark.parametrize("command", [
    "git push", "curl http://x", "sudo rm x", "cat .env", "cat id_rsa", "frob \u202e", "frob 'x",
    "frob " + "x" * 20_000, "frob $(cat .env)", "ssh host ls",
])  # fmt: skip
def test_no_rule_allows_what_is_critical_secret_or_unreadable(command: str) -> None:
    assert judged(command, book(ALLOW)).allowed_by == ""
    assert judged("frobnicate", book(ALLOW)).allowed_by == "user:all"


@pytest.mark.guarantee("G5")
def test_no_rule_lifts_what_is_forbidden() -> None:
    call = ToolCall(call_id="c", tool="write_file", arguments={"path": "/etc/x", "content": ""})
    verdict = Policy(book(ALLOW)).judge(call, CONTEXT)
    assert (verdict.lane, verdict.allowed_by) == (Lane.FORBIDDEN, "")


@pytest.mark.guarantee("G5")
def test_no_rule_allows_a_way_out_of_a_tainted_session() -> None:
    verdict = Verdict(lane=Lane.RED, risk=Risk.MEDIUM, rules=(TAINTED,), reasons=("",))
    rules = replace(verdict, allowed_by="user:all")
    assert isinstance(book(ALLOW).standing(rules, effect()), NoStandingYes)
    assert isinstance(
        book(ALLOW).standing(replace(rules, rules=("effect-unknown",)), effect()), StandingYes
    )
    armed = replace(CONTEXT, taint=Taint(private=("mail",), untrusted=("web",)))
    assert judged("curl http://x", book(ALLOW), armed).rules[-1] == TAINTED


def test_deny_beats_ask_and_ask_beats_allow() -> None:
    ask = '[[ask]]\nname = "a"\ncommand = "frob"\n'
    deny = '[[deny]]\nname = "d"\ncommand = "frob"\n'
    assert judged("frob", book(ALLOW)).allowed_by == "user:all"
    asked = judged("frob", book(ALLOW + ask))
    assert (asked.lane, asked.rules[0], asked.allowed_by) == (Lane.RED, "user:a", "")
    assert not asked.only_effect_unknown
    assert judged("frob", book(ALLOW + ask + deny)).rules == ("user:d",)


def test_a_rule_that_asks_turns_a_pure_read_red() -> None:
    verdict = judged("ls docs", book('[[ask]]\nname = "a"\npath = "docs/**"\nreason = "why"\n'))
    assert (verdict.lane, verdict.rules) == (Lane.RED, ("user:a",))
    assert verdict.reasons == ("rule user:a wants it asked about (why): 'docs'",)


@pytest.mark.parametrize(("changes", "holds"), [
    ((change("src/a"),), True), ((change("src/a"), change("src/b")), True), ((), True),
    ((change("src/a"), change("src/b"), change("src/c")), False),
    ((change("other"),), False), ((change("src/a", ChangeKind.DELETE),), False),
    ((change("src/a", ChangeKind.MODIFY, "runs-later"),), False),
    ((change("src/a", ChangeKind.MODIFY, "link-outside"),), False),
    ((change("src/a", ChangeKind.MODIFY, "a-mark-of-tomorrow"),), False),
    ((change("src/a", ChangeKind.MODIFY, "git-internal"),), True),
])  # fmt: skip
def test_a_rule_lets_pass_only_effects_within_its_bounds(
    changes: tuple[Change, ...], holds: bool
) -> None:
    rules = book('[[allow]]\nname="x"\ncommand="frob"\npath="src/**"\nkinds=["modify"]\n'
                 "max_changes=2\n")  # fmt: skip
    verdict = judged("frob", rules)
    found = rules.standing(verdict, effect(*changes))
    assert isinstance(found, StandingYes) is holds
    if isinstance(found, NoStandingYes):
        assert found.why.startswith("rule user:x does not cover it: ")


def test_what_was_dropped_and_the_project_s_own_rules_want_a_human() -> None:
    rules = book(ALLOW)
    verdict = judged("frob", rules)
    assert isinstance(rules.standing(verdict, effect(dropped=("socket",))), NoStandingYes)
    for name in ("luminaguard-policy.toml", "LuminaGuard-Policy.toml"):
        assert isinstance(rules.standing(verdict, effect(change(name))), NoStandingYes)


ENTRY = st.builds(
    lambda action, name, what, target: f'[[{action}]]\nname = "{name}"\n{what} = "{target}"\n',
    st.sampled_from(["allow", "ask", "deny"]),
    st.uuids().map(lambda u: f"r{u.hex[:12]}"),
    st.just("command"),
    st.sampled_from(["frob", "frob *", "ls *", "ls", "rm *", "twiddle", "git push *", "make *"]),
)
PARTS = ["frob", "frob a", "ls", "ls x", "rm x", "twiddle", "git push", "make all"]
COMMAND = st.builds(
    lambda joint, parts: joint.join(parts),
    st.sampled_from([" && ", "; ", " | ", "\n"]),
    st.lists(st.sampled_from(PARTS), min_size=1, max_size=4),
)


def entries(tier: Tier, text: str) -> RulesFile:
    return parsed(tier, Path("/w/f.toml"), text.encode())


@pytest.mark.guarantee("G5")
@settings(max_examples=150, deadline=None)
@given(st.lists(ENTRY, max_size=5), st.lists(ENTRY, max_size=5), COMMAND)
def test_a_project_s_rules_only_ever_tighten(
    user: list[str], project: list[str], command: str
) -> None:
    alone = Rulebook(files=(entries(Tier.USER, "".join(user)),))
    both = replace(alone, files=(*alone.files, entries(Tier.PROJECT, "".join(project))))
    before, after = judged(command, alone), judged(command, both)
    assert ORDER.index(after.lane) >= ORDER.index(before.lane)
    assert after.allowed_by in {"", before.allowed_by}
    assert after.risk.rank >= before.risk.rank
    assert not after.only_effect_unknown or before.only_effect_unknown or after.lane is before.lane


@pytest.mark.guarantee("G5")
@settings(max_examples=150, deadline=None)
@given(st.lists(ENTRY, max_size=6), COMMAND)
def test_a_deny_always_wins_and_no_rule_makes_a_verdict_milder(
    rules: list[str], command: str
) -> None:
    plain = judged(command, Rulebook())
    more = judged(command, Rulebook(files=(entries(Tier.USER, "".join(rules)),)))
    assert ORDER.index(more.lane) >= ORDER.index(plain.lane)
    denied = [*rules, '[[deny]]\nname = "last"\ntool = "shell"\n']
    verdict = judged(command, Rulebook(files=(entries(Tier.USER, "".join(denied)),)))
    assert (verdict.lane, verdict.allowed_by) == (Lane.FORBIDDEN, "")
    assert "user:last" in verdict.rules


def test_measured_changes_are_held_against_rules_by_path() -> None:
    rules = book('[[deny]]\nname="d"\npath="keep/**"\n[[ask]]\nname="a"\npath="look/**"\n')
    policy = Policy(rules)
    call = ToolCall(call_id="c", tool="shell", arguments={"command": "frob"})
    verdict = policy.judge(call, CONTEXT)
    kept = policy.measured(call, CONTEXT, verdict, effect(change("KEEP/a")))
    assert (kept.lane, kept.rules) == (Lane.FORBIDDEN, ("user:d",))
    looked = policy.measured(call, CONTEXT, verdict, effect(change("look/a")))
    assert (looked.lane, looked.rules[0]) == (Lane.RED, "user:a")
    assert policy.measured(call, CONTEXT, verdict, effect(change("x"))) == verdict


def test_rules_read_alike_whatever_their_order_in_the_file() -> None:
    one, other = ALLOW, '[[deny]]\nname = "d"\ncommand = "frob"\n'
    for text in (one + other, other + one):
        names = [r.name for r in read_rules(text.encode(), tier=Tier.USER, source="f")]
        assert names == ["d", "all"]
