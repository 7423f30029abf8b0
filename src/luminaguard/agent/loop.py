"""The loop: model → tool calls → guard → results → model."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from luminaguard.agent.limits import Limits
from luminaguard.agent.transcript import Transcript
from luminaguard.agent.wording import SYSTEM_PROMPT, result_text
from luminaguard.approval.approver import INTERRUPTED
from luminaguard.domain.calls import ToolCall, ToolSpec
from luminaguard.domain.outcome import Outcome, OutcomeKind
from luminaguard.errors import Interrupted
from luminaguard.llm.model import ChatModel, Message, Role


class Handler(Protocol):
    """Whatever handles a call: the guard. The loop has no other way to act."""

    async def handle(self, call: ToolCall) -> Outcome:
        """Take a call to its end."""
        ...


class Observer(Protocol):
    """Sees the loop go by; a screen or a log."""

    def said(self, text: str) -> None:
        """Take note of what the model said."""
        ...

    def calling(self, call: ToolCall) -> None:
        """Take note of a call before the guard sees it."""
        ...

    def ended(self, outcome: Outcome) -> None:
        """Take note of a call's end."""
        ...


class Stop(StrEnum):
    """Why the loop ended."""

    FINISHED = "finished"
    STEPS = "step limit reached"
    SECONDS = "time limit reached"
    DENIALS = "too many calls in a row were not approved"
    UNKNOWN = "an outcome is unknown"
    INTERRUPTED = "interrupted by the user"


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """A finished run."""

    stop: Stop
    answer: str
    outcomes: tuple[Outcome, ...]


_REFUSED = {OutcomeKind.DISCARDED, OutcomeKind.DENIED}


@dataclass(slots=True, kw_only=True)
class Agent:
    """Works on one task until the model is finished or a limit is reached."""

    model: ChatModel
    guard: Handler
    tools: Sequence[ToolSpec]
    transcript: Transcript
    observer: Observer
    seconds: Callable[[], float]
    """A monotonic clock."""
    limits: Limits = field(default_factory=Limits)

    async def run(self, task: str, workspace: str) -> Run:
        """Work on `task`.

        Raises:
            ModelError: the model cannot go on. Everything up to then is in the transcript.
        """
        conversation: list[Message] = []
        outcomes: list[Outcome] = []
        self._say(conversation, Role.SYSTEM, SYSTEM_PROMPT.format(workspace=workspace))
        self._say(conversation, Role.USER, task)
        started = self.seconds()
        refusals = 0
        for _ in range(self.limits.steps):
            if self.seconds() - started > self.limits.seconds:
                return _run(Stop.SECONDS, conversation, outcomes)
            reply = await self.model.reply(tuple(conversation), self.tools)
            message = Message(role=Role.ASSISTANT, text=reply.text, calls=reply.calls)
            self._add(conversation, message)
            self.observer.said(reply.text)
            if not reply.calls:
                return _run(Stop.FINISHED, conversation, outcomes)
            for call in reply.calls:
                outcome = await self._call(call, conversation)
                outcomes.append(outcome)
                refusals = refusals + 1 if outcome.kind in _REFUSED else 0
                stop = _ends_the_run(outcome)
                if stop is not None:
                    return _run(stop, conversation, outcomes)
            if refusals >= self.limits.denials_in_row:
                return _run(Stop.DENIALS, conversation, outcomes)
        return _run(Stop.STEPS, conversation, outcomes)

    async def _call(self, call: ToolCall, conversation: list[Message]) -> Outcome:
        self.observer.calling(call)
        outcome = await self.guard.handle(call)
        self.observer.ended(outcome)
        text = result_text(outcome, self.limits.result_chars)
        self._add(conversation, Message(role=Role.TOOL, text=text, call_id=call.call_id))
        return outcome

    def _say(self, conversation: list[Message], role: Role, text: str) -> None:
        self._add(conversation, Message(role=role, text=text))

    def _add(self, conversation: list[Message], message: Message) -> None:
        conversation.append(message)
        self.transcript.add(message)


def _ends_the_run(outcome: Outcome) -> Stop | None:
    """Return why nothing may follow this outcome, or None."""
    if outcome.kind is OutcomeKind.UNKNOWN:
        return Stop.UNKNOWN
    reason = outcome.decision.reason if outcome.decision else ""
    interrupted = outcome.error_code == Interrupted.code or reason == INTERRUPTED
    return Stop.INTERRUPTED if interrupted else None


def _run(stop: Stop, conversation: Sequence[Message], outcomes: Sequence[Outcome]) -> Run:
    said = [message.text for message in conversation if message.role is Role.ASSISTANT]
    return Run(stop=stop, answer=said[-1] if said else "", outcomes=tuple(outcomes))
