"""The conversation on disk, growing with every message, so that a run can be gone on with."""

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import cast

from luminaguard.domain.calls import JsonValue, ToolCall
from luminaguard.errors import LuminaGuardError
from luminaguard.llm.model import Message, Role
from luminaguard.llm.usage import Usage

VERSION = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Saved:
    """A conversation as it was read back."""

    workspace: str
    model: str
    messages: tuple[Message, ...]
    usage: Usage


class Transcript:
    """Appends each message to a private JSON Lines file (0600)."""

    def __init__(self, path: Path, clock: Callable[[], datetime]) -> None:
        self.path = path
        self._clock = clock
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._file = os.fdopen(descriptor, "a", encoding="utf-8")

    def begin(self, *, workspace: str, model: str) -> None:
        """Write down what follows: which model works on which project."""
        self._write({"kind": "begin", "version": VERSION, "workspace": workspace, "model": model})

    def add(self, message: Message, usage: Usage | None = None) -> None:
        """Write one message through to the file, and what a reply cost."""
        self._write(
            {
                "kind": "message",
                "role": message.role.value,
                "text": message.text,
                "calls": [
                    {"call_id": call.call_id, "tool": call.tool, "arguments": dict(call.arguments)}
                    for call in message.calls
                ],
                "call_id": message.call_id,
                "native": message.native,
                "usage": dict(usage.as_json()) if usage else None,
            }
        )

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _write(self, line: Mapping[str, JsonValue]) -> None:
        text = json.dumps({"at": self._clock().isoformat(), **line}, ensure_ascii=False)
        self._file.write(text + "\n")
        self._file.flush()


def find_transcript(directory: Path, name: str) -> Path:
    """Return the transcript of a session, named by its id or the beginning of it.

    Raises:
        LuminaGuardError: there is none, or more than one.
    """
    found = sorted(path for path in directory.glob("*.jsonl") if path.stem.startswith(name))
    exact = [path for path in found if path.stem == name]
    if len(exact or found) != 1 or not name:
        what = "no transcript" if not found else f"{len(found)} transcripts"
        recent = sorted(directory.glob("*.jsonl"), key=lambda path: path.stat().st_mtime)[-3:]
        known = ", ".join(path.stem for path in reversed(recent))
        raise LuminaGuardError(
            f"there is {what} of a session {name!r}", hint=f"the last ones: {known or 'none'}"
        )
    return (exact or found)[0]


def read_transcript(path: Path) -> Saved:
    """Read a conversation back; a last line that a crash cut short is left out.

    Raises:
        LuminaGuardError: it cannot be read, or is not a transcript of this version.
    """
    try:
        lines = path.read_bytes().split(b"\n")
        whole = [cast("dict[str, JsonValue]", json.loads(line)) for line in lines[:-1] if line]
        begins = [line for line in whole if line["kind"] == "begin"]
        if not begins or any(line["version"] != VERSION for line in begins):
            raise ValueError("it does not say how it begins")
        messages = [line for line in whole if line["kind"] == "message"]
        return Saved(
            workspace=str(begins[-1]["workspace"]),
            model=str(begins[-1]["model"]),
            messages=tuple(_message(line) for line in messages),
            usage=sum((_usage(line) for line in messages), start=Usage()),
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise LuminaGuardError(f"{path} cannot be gone on with: {error}") from error


def _message(line: Mapping[str, JsonValue]) -> Message:
    calls = cast("list[dict[str, JsonValue]]", line["calls"])
    return Message(
        role=Role(str(line["role"])),
        text=str(line["text"]),
        calls=tuple(
            ToolCall(
                call_id=str(call["call_id"]),
                tool=str(call["tool"]),
                arguments=cast("dict[str, JsonValue]", call["arguments"]),
            )
            for call in calls
        ),
        call_id=str(line["call_id"]),
        native=str(line["native"]),
    )


def _usage(line: Mapping[str, JsonValue]) -> Usage:
    used = cast("dict[str, JsonValue] | None", line["usage"])
    if used is None:
        return Usage()
    cost = used["cost_usd"]
    return Usage(
        input_tokens=int(cast("int", used["input_tokens"])),
        output_tokens=int(cast("int", used["output_tokens"])),
        cost_usd=None if cost is None else Decimal(str(cost)),
    )
