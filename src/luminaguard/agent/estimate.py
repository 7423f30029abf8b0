"""What a task may cost, before it is begun."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from statistics import quantiles

from luminaguard.domain.calls import ToolSpec
from luminaguard.llm.model import ChatModel
from luminaguard.llm.usage import Usage

CHARS_PER_TOKEN = 4
"""Rule of thumb for English and code; tokenizers of providers differ by a fifth or so."""
ASSUMED_REPLIES = (5, 15, 50)
"""Of a small, a middling and a large task, where no earlier runs can be looked at."""
ASSUMED_GROWTH = 1_500
"""Tokens by which each step makes the conversation longer: a call and its result."""
ASSUMED_ANSWER = 300
"""Tokens of a reply."""
ENOUGH_RUNS = 5
"""Earlier runs from which more can be told than from assumptions."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """Three sizes that the task may turn out to have; costs are None where a price is unknown."""

    first_request_tokens: int
    small: Usage
    middling: Usage
    large: Usage
    basis: str
    """What it is based on, in words."""


def estimate(
    task: str,
    system_prompt: str,
    tools: Sequence[ToolSpec],
    model: ChatModel,
    earlier: Sequence[Usage] = (),
) -> Estimate:
    """Return what a task may cost. Nothing is sent.

    Args:
        task: What the user wants.
        system_prompt: What the model is told first.
        tools: What it is offered.
        model: Whose prices hold.
        earlier: Use of this model by earlier runs on this machine, one each.
    """
    offered = sum(len(json.dumps(dict(t.parameters))) + len(t.description) for t in tools)
    first = (len(task) + len(system_prompt) + offered) // CHARS_PER_TOKEN
    if len(earlier) >= ENOUGH_RUNS:
        sizes = [
            Usage(input_tokens=round(sent), output_tokens=round(received))
            for sent, received in zip(
                quantiles([run.input_tokens for run in earlier], n=10, method="inclusive"),
                quantiles([run.output_tokens for run in earlier], n=10, method="inclusive"),
                strict=True,
            )
        ]
        small, middling, large = sizes[0], sizes[4], sizes[8]
        basis = f"{len(earlier)} earlier runs with this model: the tenth, the middle, the ninetieth"
    else:
        small, middling, large = (_assumed(first, replies) for replies in ASSUMED_REPLIES)
        counts = ", ".join(map(str, ASSUMED_REPLIES))
        basis = (
            f"assumptions: {counts} replies, a conversation that grows by {ASSUMED_GROWTH:,} "
            "tokens a step, no discount for what the provider has in its cache"
        )
    return Estimate(
        first_request_tokens=first,
        small=_priced(small, model),
        middling=_priced(middling, model),
        large=_priced(large, model),
        basis=basis,
    )


def _assumed(first: int, replies: int) -> Usage:
    """Each reply is sent the whole conversation so far."""
    sent = replies * first + ASSUMED_GROWTH * replies * (replies - 1) // 2
    return Usage(input_tokens=sent, output_tokens=replies * ASSUMED_ANSWER)


def _priced(usage: Usage, model: ChatModel) -> Usage:
    cost: Decimal | None = model.price(usage)
    return Usage(input_tokens=usage.input_tokens, output_tokens=usage.output_tokens, cost_usd=cost)
