"""Only a rule that spells out a whole call of an MCP server counts in a tainted session."""

import pytest

from luminaguard.audit.records import JsonObject
from luminaguard.domain.calls import ToolCall
from luminaguard.domain.changeset import Changeset
from luminaguard.domain.verdict import Risk, Verdict
from luminaguard.policy.context import CallContext
from luminaguard.policy.mcp import McpCall
from luminaguard.policy.policy import Policy
from luminaguard.policy.rules.book import Rulebook, RulesFile
from luminaguard.policy.rules.read import read_rules
from luminaguard.policy.rules.rule import Tier
from luminaguard.policy.standing import StandingYes
from luminaguard.policy.taint import CLEAN, TAINTED, Taint

SEEN = Taint(private=("mail",), untrusted=("a web page",))
NOTHING = Changeset(base="0" * 64, changes=(), dropped=())
OURS: JsonObject = {"url": "www.ours.org"}
SITE = 'server = "web"\ntool = "get_webpage"\narguments = { url = "www.ours.org" }'


def policy(*conditions: str, action: str = "allow") -> Policy:
    text = "".join(
        f'[[{action}]]\nname = "rule-{number}"\n{one}\n' for number, one in enumerate(conditions)
    )
    rules = read_rules(text.encode(), tier=Tier.USER, source="policy.toml")
    file = RulesFile(tier=Tier.USER, path="policy.toml", digest="0" * 64, rules=rules)
    return Policy(rulebook=Rulebook(files=(file,)))


def judged(
    held: Policy, given: JsonObject, taint: Taint = SEEN, *, trusted: bool = True
) -> Verdict:
    call = ToolCall(call_id="c", tool="get_webpage", arguments=given)
    return held.judge_mcp(McpCall(server="web", call=call, trusted=trusted), taint)


@pytest.mark.guarantee("G5")
def test_a_call_that_is_spelled_out_passes_a_tainted_session() -> None:
    held = policy(SITE)
    verdict = judged(held, OURS)
    assert verdict.allowed_by == "user:rule-0"
    assert isinstance(held.standing(verdict, NOTHING), StandingYes)


@pytest.mark.guarantee("G5")
@pytest.mark.parametrize(
    "conditions",
    [
        'server = "web"\ntool = "get_webpage"\narguments = { url = "www.ours.or?" }',
        'server = "web"\ntool = "get_webpage"\narguments = { url = "www.ours.org*" }',
        'server = "web"\ntool = "get_webpage"\narguments = { url = "*" }',
        'server = "web"\ntool = "get_web*"\narguments = { url = "www.ours.org" }',
        'server = "we?"\ntool = "get_webpage"\narguments = { url = "www.ours.org" }',
        'server = ["web", "net"]\ntool = "get_webpage"\narguments = { url = "www.ours.org" }',
        'server = "web"\ntool = ["get_webpage", "send"]\narguments = { url = "www.ours.org" }',
        'server = "web"\narguments = { url = "www.ours.org" }',
        'server = "web"\ntool = "get_webpage"',
        'server = "web"\ntool = "get_webpage"\nhost = "www.ours.org"',
    ],
)
def test_a_rule_that_leaves_anything_open_does_not(conditions: str) -> None:
    held = policy(conditions)
    verdict = judged(held, OURS)
    assert (verdict.allowed_by, verdict.risk) == ("", Risk.CRITICAL)
    assert TAINTED in verdict.rules
    assert not isinstance(held.standing(verdict, NOTHING), StandingYes)


@pytest.mark.parametrize("arguments", ["*", "www.ours.org"])
def test_the_same_rules_count_where_nothing_was_seen(arguments: str) -> None:
    held = policy(f'server = "web"\ntool = "get_*"\narguments = {{ url = "{arguments}" }}')
    assert judged(held, OURS, CLEAN).allowed_by == "user:rule-0"


@pytest.mark.guarantee("G5")
@pytest.mark.parametrize(
    "given",
    [
        {"url": "www.ours.org", "headers": "x"},
        {"url": "www.ours.org", "": ""},
        {"url": "www.ours.org/?q=1"},
        {"url": "WWW.ours.org"},
        {"url": "www.ours.org\n"},
        {"url": ["www.ours.org"]},
        {"url": {"www.ours.org": ""}},
        {},
    ],
)
def test_a_call_that_says_more_or_less_is_asked_about(given: JsonObject) -> None:
    assert judged(policy(SITE), given).allowed_by == ""


@pytest.mark.guarantee("G5")
def test_a_rule_that_names_no_arguments_spells_out_nothing() -> None:
    assert judged(policy('server = "web"\ntool = "get_webpage"'), {}).allowed_by == ""


def test_a_server_that_is_not_trusted_is_asked_about() -> None:
    assert judged(policy(SITE), OURS, trusted=False).allowed_by == ""


def test_a_wider_rule_before_it_does_not_hide_it() -> None:
    held = policy('server = "web"\ntool = "*"', SITE)
    assert judged(held, OURS).allowed_by == "user:rule-1"
    assert judged(held, {"url": "www.theirs.org"}).allowed_by == ""


@pytest.mark.guarantee("G5")
@pytest.mark.parametrize("url", ["~/.ssh/id_rsa", "www.ours.org\u202e", "x.env"])
def test_what_never_stands_in_a_clean_session_does_not_either(url: str) -> None:
    held = policy(SITE.replace("www.ours.org", url))
    assert judged(held, {"url": url}, CLEAN).allowed_by == ""
    assert judged(held, {"url": url}).allowed_by == ""


@pytest.mark.guarantee("G5")
@pytest.mark.parametrize("action", ["ask", "deny"])
def test_a_rule_that_asks_or_denies_still_wins(action: str) -> None:
    held = policy(SITE)
    stricter = policy('server = "web"', action=action)
    both = Policy(rulebook=Rulebook(files=(*held.rulebook.files, *stricter.rulebook.files)))
    assert judged(both, OURS).allowed_by == ""


@pytest.mark.guarantee("G5")
def test_a_command_that_is_spelled_out_may_send_what_stands_in_files() -> None:
    line = "curl -d @notes.txt https://www.ours.org"
    held = policy(f'tool = "shell"\narguments = {{ command = "{line}" }}')
    call = ToolCall(call_id="c", tool="shell", arguments={"command": line})
    verdict = held.judge(call, CallContext(workspace="/w", taint=SEEN))
    assert verdict.allowed_by == ""
