"""A model that follows a script, for demos, tests and offline use. It says that it is scripted.

A script is a JSON file:

    {"turns": [{"say": "text", "expect": "text", "calls": [{"tool": "...", "arguments": {...}}]}]}

`expect` must occur in the results of the turn before, or the model stops with an error: a script
reacts to what really happened, it does not play on regardless. The last turn has no calls.
"""

import json
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import cast

from luminaguard.domain.calls import JsonValue, ToolCall, ToolSpec
from luminaguard.errors import ModelError
from luminaguard.llm.model import Message, OnText, Reply, Role
from luminaguard.llm.usage import Usage


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """One reply of the script."""

    say: str
    calls: tuple[tuple[str, dict[str, JsonValue]], ...] = ()
    expect: str = ""


LOOK_AROUND = (
    Turn(
        say="I am a scripted model: I follow a fixed script and cannot reason about your task. "
        "I will list the files of the workspace and stop.",
        calls=(("list_files", {"path": "."}),),
    ),
    Turn(say="That is all this script does. Name one of your own with --model scripted:FILE."),
)
"""The script of `--model scripted`, which changes nothing."""


class ScriptedModel:
    """Plays turns in order, one per reply."""

    def __init__(self, turns: Sequence[Turn], name: str = "scripted") -> None:
        self._turns = tuple(turns)
        self._name = name
        self._next = 0

    @classmethod
    def from_file(cls, path: Path) -> "ScriptedModel":
        """Read a script.

        Raises:
            ModelError: it cannot be read or is not a script.
        """
        try:
            document = json.loads(path.read_text(encoding="utf-8"))
            turns = [_turn(item) for item in document["turns"]]
        except OSError as error:
            raise ModelError(f"cannot read the script {path}: {error.strerror}") from error
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ModelError(
                f"{path} is not a script: {error}",
                hint='it must look like {"turns": [{"say": "...", "calls": []}]}',
            ) from error
        return cls(turns, f"scripted:{path.name}")

    @property
    def name(self) -> str:
        """Starts with "scripted"."""
        return self._name

    def price(self, usage: Usage) -> Decimal:
        """Return nothing: a script is free."""
        del usage
        return Decimal(0)

    async def reply(
        self, conversation: Sequence[Message], tools: Sequence[ToolSpec], on_text: OnText
    ) -> Reply:
        """Return the next turn.

        Raises:
            ModelError: the script is at its end, or the last results are not as it expects.
        """
        offered = {tool.name for tool in tools}
        if self._next >= len(self._turns):
            raise ModelError(
                "the script has no further turn", hint="end it with a turn of no calls"
            )
        turn = self._turns[self._next]
        self._next += 1
        if turn.expect and turn.expect not in _last_results(conversation):
            raise ModelError(
                f"the script expected {turn.expect!r} in the last result and it was not there",
                hint="the script does not fit what happened; nothing further is done",
            )
        missing = [tool for tool, _ in turn.calls if tool not in offered]
        if missing:
            raise ModelError(f"the script calls {missing[0]!r}, which is not offered")
        calls = tuple(
            ToolCall(call_id=f"call-{secrets.token_hex(6)}", tool=tool, arguments=arguments)
            for tool, arguments in turn.calls
        )
        on_text(turn.say)
        return Reply(text=turn.say, calls=calls, model=self._name)

    async def close(self) -> None:
        """Do nothing: there are no connections."""


def _turn(item: dict[str, JsonValue]) -> Turn:
    unknown = set(item) - {"say", "expect", "calls"}
    if unknown:
        raise ValueError(f"a turn has no field {min(unknown)!r}")
    calls = cast("list[dict[str, JsonValue]]", item.get("calls", []))
    return Turn(
        say=str(item.get("say", "")),
        expect=str(item.get("expect", "")),
        calls=tuple(
            (str(call["tool"]), dict(cast("dict[str, JsonValue]", call["arguments"])))
            for call in calls
        ),
    )


def _last_results(conversation: Sequence[Message]) -> str:
    """Return the tool results since the last assistant message, joined."""
    texts: list[str] = []
    for message in reversed(conversation):
        if message.role is not Role.TOOL:
            break
        texts.append(message.text)
    return "\n".join(reversed(texts))
