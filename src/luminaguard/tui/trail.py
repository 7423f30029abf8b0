"""The session as it goes by: what the agent says and calls, and how each call ends.

A trail is kept apart from the screen that shows it, so that it can be printed when the screen is
closed. Model and guest texts pass through the card's own layout.
"""

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime

from luminaguard.approval.look import Look, Style
from luminaguard.approval.rows import Row, Span
from luminaguard.approval.summary import summary_line
from luminaguard.domain.calls import JsonValue, ToolCall, canonical_json
from luminaguard.domain.outcome import Outcome, OutcomeKind
from luminaguard.llm.model import Reply

KEPT = 2_000
"""Lines of the story that are kept; earlier ones are counted."""
SHOWN_CHARS = 160
"""Characters of one argument; further ones are counted."""

_MARKS = {
    OutcomeKind.EXECUTED: (Style.GREEN, "ok"),
    OutcomeKind.COMMITTED: (Style.GREEN, "committed"),
    OutcomeKind.DISCARDED: (Style.YELLOW, "discarded"),
    OutcomeKind.DENIED: (Style.RED, "denied"),
    OutcomeKind.FAILED: (Style.RED, "failed"),
    OutcomeKind.UNKNOWN: (Style.WARNING, "UNKNOWN"),
}


@dataclass(slots=True)
class Trail:
    """What happened so far, oldest first. An `Observer` of the agent's loop."""

    now: Callable[[], datetime]
    doing: str = "starting"
    """What the session does at this moment."""
    lines: deque[Row] = field(default_factory=lambda: deque[Row](maxlen=KEPT))
    total: int = 0
    """Lines since the beginning, those that are no longer kept included."""
    on_change: Callable[[], None] = lambda: None

    def saying(self, piece: str) -> None:
        """Take no note of pieces: what was said stands here once it is whole."""

    def said(self, reply: Reply) -> None:
        """Take note of what the model said: untrusted words, marked as its own."""
        for line in reply.text.splitlines():
            self._add((Style.MAGENTA, "agent says: "), (Style.PLAIN, line))
        self.doing = "the model thinks"
        self.on_change()

    def calling(self, call: ToolCall) -> None:
        """Take note of a call before the guard sees it."""
        self.doing = f"{call.tool} is rehearsed"
        self._add((Style.CYAN, "-> "), (Style.STRONG, call.tool), (Style.PLAIN, _words(call)))
        self.on_change()

    def asked(self, call: ToolCall) -> None:
        """Take note that somebody is asked about a call."""
        self.doing = f"{call.tool} waits for an answer"
        self.on_change()

    def ended(self, outcome: Outcome) -> None:
        """Take note of a call's end."""
        style, word = _MARKS[outcome.kind]
        self.doing = "the model thinks"
        self._add((style, f"   {word}"), (Style.QUIET, _ending(outcome)))
        self.on_change()

    def notice(self, text: str) -> None:
        """Take note of what the user waits for, or is told."""
        self._add((Style.YELLOW, text))
        self.on_change()

    def told(self, at: datetime, whose: str, text: str) -> None:
        """Take note of what was recorded of a session elsewhere."""
        self._add((Style.CYAN, f"{whose} "), (Style.PLAIN, text), at=at)
        self.on_change()

    def _add(self, *spans: Span, at: datetime | None = None) -> None:
        clock = f"{(at or self.now()).astimezone():%H:%M:%S} "
        self.lines.append(
            Row(
                spans,
                edge=((Style.QUIET, clock),),
                hang=((Style.PLAIN, " " * len(clock)),),
                prose=True,
            )
        )
        self.total += 1


def rows_of(trail: Trail, look: Look) -> Iterable[Row]:
    """Yield the story, with a counter for what is no longer kept."""
    lost = trail.total - len(trail.lines)
    if lost:
        text = f"{look.glyphs.more} {lost:,} earlier lines are not kept here"
        yield Row(((Style.YELLOW, text),), edge=())
    yield from tuple(trail.lines)


def _words(call: ToolCall) -> str:
    return "".join(f" {short_text(value)}" for value in call.arguments.values())


def short_text(value: JsonValue) -> str:
    """Return a call's argument, with a counter for what is left out of a long one."""
    text = value if isinstance(value, str) else canonical_json(value).decode("utf-8", "replace")
    if len(text) <= SHOWN_CHARS:
        return text
    return f"{text[:SHOWN_CHARS]}… ({len(text) - SHOWN_CHARS:,} more characters)"


def _ending(outcome: Outcome) -> str:
    report = outcome.report
    if outcome.kind is OutcomeKind.EXECUTED and report is not None:
        code = report.exit_code
        return f": exit code {code} (the guest says), no effect, {report.duration_s:.1f} s"
    if outcome.kind is OutcomeKind.COMMITTED and outcome.changeset is not None:
        return f": {summary_line(outcome.changeset)}"
    if outcome.decision is not None:
        reason = f": {outcome.decision.reason}" if outcome.decision.reason else ""
        return f" ({outcome.decision.end.value}{reason})"
    if outcome.kind is OutcomeKind.DENIED:
        return f" by policy: {'; '.join(outcome.verdict.reasons)}"
    return f": {outcome.error}" if outcome.error else ""
