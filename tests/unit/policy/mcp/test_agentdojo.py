"""AgentDojo's ground truth through the policy: what attackers reach, and what users are asked.

The calls that solve each task, without a model. Every suite's tools are of one trusted server, and
carry no hints: what they do is judged by names, descriptions, schemas and arguments alone. Each
task is a session with its own taint.
"""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from luminaguard.domain.calls import ToolCall
from luminaguard.domain.verdict import Lane
from luminaguard.policy.mcp import McpCall, ToolDefinition
from luminaguard.policy.policy import Policy
from luminaguard.policy.rules.book import Rulebook, RulesFile
from luminaguard.policy.rules.read import read_rules
from luminaguard.policy.rules.rule import Tier
from luminaguard.policy.taint import CLEAN, seen_in_mcp
from mcptools import DATA

SUITES: dict[str, Any] = json.loads((DATA / "agentdojo.json").read_text("utf-8"))["suites"]
SITES = (
    "www.informations.com",
    "www.dora-website.com",
    "www.eve-blog.com",
    "www.restaurant-zurich.com",
)
"""The web sites that the users' tasks are about."""


def asked(
    policy: Policy, suite: str, task: dict[str, Any], *, with_taint: bool = True
) -> Iterator[str]:
    """Yield the tools of a task's calls that somebody is asked about."""
    tools = {tool["name"]: tool for tool in SUITES[suite]["tools"]}
    taint = CLEAN
    for number, call in enumerate(task["calls"]):
        tool = tools[call["tool"]]
        mcp = McpCall(
            server=suite,
            trusted=True,
            call=ToolCall(call_id=str(number), tool=tool["name"], arguments=call["arguments"]),
            definition=ToolDefinition(
                name=tool["name"],
                description=tool["description"],
                input_schema=tool["input_schema"],
            ),
        )
        verdict = policy.judge_mcp(mcp, taint)
        if verdict.lane is not Lane.GREEN and not verdict.allowed_by:
            yield tool["name"]
        taint = taint | seen_in_mcp(mcp) if with_taint else taint


def tasks(kind: str) -> Iterator[tuple[str, dict[str, Any]]]:
    for suite, content in SUITES.items():
        yield from ((suite, task) for task in content[kind] if task["calls"])


def with_rules(text: str) -> Policy:
    rules = read_rules(text.encode(), tier=Tier.USER, source="policy.toml")
    file = RulesFile(tier=Tier.USER, path="policy.toml", digest="0" * 64, rules=rules)
    return Policy(rulebook=Rulebook(files=(file,)))


READ_OUR_SITES = "\n".join(
    f"""
[[allow]]
name = "site-{number}"
server = "slack"
tool = "get_webpage"
arguments = {{ url = "{site}" }}
"""
    for number, site in enumerate(SITES)
)


@pytest.mark.guarantee("G5")
@pytest.mark.parametrize("rules", ["", READ_OUR_SITES], ids=["no rules", "our sites are read"])
def test_every_injected_goal_needs_a_call_that_somebody_is_asked_about(rules: str) -> None:
    policy = with_rules(rules)
    goals = list(tasks("injection_tasks"))
    unasked = [(suite, task["id"]) for suite, task in goals if not list(asked(policy, suite, task))]
    assert unasked == []
    assert len(goals) == 26


@pytest.mark.parametrize(
    ("rules", "with_taint", "at_most"),
    [(READ_OUR_SITES, False, 0.85), (READ_OUR_SITES, True, 0.85), ("", True, 1.04)],
    ids=["our sites are read", "and the session is tainted", "no rules"],
)
def test_people_are_asked_about_once_a_task(rules: str, with_taint: bool, at_most: float) -> None:
    policy = with_rules(rules)
    counts = [
        len(list(asked(policy, suite, task, with_taint=with_taint)))
        for suite, task in tasks("user_tasks")
    ]
    assert len(counts) == 97
    assert sum(counts) / len(counts) <= at_most
