"""Long results in parts: what a model was given too little of, it can read on."""

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field

from luminaguard.domain.calls import JsonValue, ToolSpec

KEPT_RESULTS = 50
"""Older ones are forgotten; a model that wants them runs the command again."""
READ_OUTPUT = ToolSpec(
    name="read_output",
    description="Read on in an earlier result that was cut: its number, and where to start.",
    parameters={
        "type": "object",
        "properties": {
            "result": {"type": "integer", "description": "Number of the result."},
            "start": {"type": "integer", "description": "First character to show, from 0."},
        },
        "required": ["result", "start"],
        "additionalProperties": False,
    },
)
"""Shows more of what the model was already given: it runs nothing, so nothing is judged."""


@dataclass(slots=True)
class Shelf:
    """Keeps the whole text of the last results, by number."""

    _texts: OrderedDict[int, str] = field(default_factory=OrderedDict[int, str])
    _count: int = 0

    def keep(self, text: str, limit_chars: int) -> str:
        """Keep a result, and return the part of it that is shown: its beginning and its end."""
        self._count += 1
        if len(text) <= limit_chars:
            return text
        self._texts[self._count] = text
        while len(self._texts) > KEPT_RESULTS:
            self._texts.popitem(last=False)
        head = limit_chars * 2 // 3
        tail = limit_chars - head
        left = len(text) - limit_chars
        note = (
            f"\n[{left} characters left out here; "
            f"read_output(result={self._count}, start={head}) shows them]\n"
        )
        return text[:head] + note + text[-tail:]

    def read(self, arguments: Mapping[str, JsonValue], limit_chars: int) -> str:
        """Return a further part of a kept result, or what is wrong with the question."""
        result, start = arguments.get("result"), arguments.get("start")
        if not isinstance(result, int) or not isinstance(start, int):
            return "read_output takes two numbers: result and start"
        text = self._texts.get(result)
        if text is None:
            return f"result {result} was not cut, or is no longer kept"
        if not 0 <= start < len(text):
            return f"result {result} has characters 0 to {len(text) - 1}"
        end = min(len(text), start + limit_chars)
        left = len(text) - end
        more = f"\n[{left} characters follow; start={end} shows them]" if left else ""
        return text[start:end] + more
