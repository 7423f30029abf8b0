"""The loop: model → tool calls → guard → results → model."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

import anyio

from luminaguard.agent.limits import Limits
from luminaguard.agent.outputs import READ_OUTPUT, Shelf
from luminaguard.agent.ports import Handler, Ledger, Observer
from luminaguard.agent.transcript import Transcript
from luminaguard.agent.wording import NOT_RUN, result_text
from luminaguard.approval.approver import INTERRUPTED
from luminaguard.domain.calls import ToolCall, ToolSpec
from luminaguard.domain.outcome import Outcome, OutcomeKind
from luminaguard.errors import Interrupted, ModelError
from luminaguard.llm.model import ChatModel, Message, Reply, Role
from luminaguard.llm.usage import Usage


class Stop(StrEnum):
    """Why the loop ended."""

    FINISHED = "finished"
    STEPS = "step limit reached"
    SECONDS = "time limit reached"
    TOKENS = "token limit reached"
    COST = "cost limit reached"
    DENIALS = "too many calls in a row were not approved"
    UNKNOWN = "an outcome is unknown"
    INTERRUPTED = "interrupted by the user"


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """A finished run."""

    stop: Stop
    answer: str
    outcomes: tuple[Outcome, ...]
    usage: Usage


_REFUSED = {OutcomeKind.DISCARDED, OutcomeKind.DENIED}


@dataclass(slots=True, kw_only=True)
class Agent:
    """Works on one task after another until the model is finished or a limit is reached."""

    model: ChatModel
    guard: Handler
    tools: Sequence[ToolSpec]
    conversation: list[Message]
    """Begins with the system's message; grows with every other one."""
    transcript: Transcript
    ledger: Ledger
    observer: Observer
    seconds: Callable[[], float]
    """A monotonic clock."""
    limits: Limits = field(default_factory=Limits)
    usage: Usage = field(default_factory=Usage)
    """Of all replies so far, those of an earlier run that is gone on with included."""
    _shelf: Shelf = field(default_factory=Shelf)
    _scope: anyio.CancelScope | None = None

    async def run(self, task: str) -> Run:
        """Work on `task`.

        Raises:
            ModelError: the model cannot go on. Everything up to then is in the transcript.
        """
        if self.limits.cost_usd is not None and self.model.price(_A_LITTLE) is None:
            raise ModelError(
                f"the price of {self.model.name} is unknown, so a cost limit cannot be kept",
                hint="leave the limit out, or limit tokens",
            )
        self._add(Message(role=Role.USER, text=task))
        outcomes: list[Outcome] = []
        stop = await self._work(outcomes)
        said = [message.text for message in self.conversation if message.role is Role.ASSISTANT]
        answer = said[-1] if said else ""
        return Run(stop=stop, answer=answer, outcomes=tuple(outcomes), usage=self.usage)

    @property
    def is_thinking(self) -> bool:
        """Whether the model is being waited for."""
        return self._scope is not None

    def interrupt(self) -> None:
        """Stop waiting for the model; a call in progress is the guard's to end."""
        if self._scope is not None:
            self._scope.cancel()

    async def _work(self, outcomes: list[Outcome]) -> Stop:
        started = self.seconds()
        refusals = 0
        for _ in range(self.limits.steps):
            if spent := self._spent(self.seconds() - started):
                return spent
            reply = await self._reply()
            if reply is None:
                return Stop.INTERRUPTED
            if not reply.calls:
                return Stop.FINISHED
            for at, call in enumerate(reply.calls):
                outcome = await self._call(call)
                if outcome is None:
                    continue
                outcomes.append(outcome)
                refusals = refusals + 1 if outcome.kind in _REFUSED else 0
                if stop := _ends_the_run(outcome):
                    self._leave(reply.calls[at + 1 :])
                    return stop
            if refusals >= self.limits.denials_in_row:
                return Stop.DENIALS
        return Stop.STEPS

    def _spent(self, seconds: float) -> Stop | None:
        """Return which limit is reached. A cost that is not known any more counts as reached."""
        if seconds > self.limits.seconds:
            return Stop.SECONDS
        if self.usage.tokens >= self.limits.tokens:
            return Stop.TOKENS
        cost, limit = self.usage.cost_usd, self.limits.cost_usd
        return Stop.COST if limit is not None and (cost is None or cost >= limit) else None

    async def _reply(self) -> Reply | None:
        """Return the model's next reply, None if the user would not wait for it."""
        asked = self.seconds()
        reply: Reply | None = None
        try:
            with anyio.CancelScope() as self._scope:
                reply = await self.model.reply(
                    tuple(self.conversation), (*self.tools, READ_OUTPUT), self.observer.saying
                )
        finally:
            self._scope = None
        if reply is None:
            return None
        self.usage += reply.usage
        self._add(reply.message, reply.usage)
        await self.ledger.replied(self.model.name, reply, self.seconds() - asked)
        self.observer.said(reply)
        return reply

    async def _call(self, call: ToolCall) -> Outcome | None:
        """Take a call to its end and tell the model; None for one that only reads on."""
        if call.tool == READ_OUTPUT.name:
            await self.ledger.reread(call)
            self._answer(call, self._shelf.read(call.arguments, self.limits.result_chars))
            return None
        self.observer.calling(call)
        outcome = await self.guard.handle(call)
        self.observer.ended(outcome)
        self._answer(call, self._shelf.keep(result_text(outcome), self.limits.result_chars))
        return outcome

    def _leave(self, calls: Sequence[ToolCall]) -> None:
        """Tell the model of calls that nobody got to: a conversation has an answer to each."""
        for call in calls:
            self._answer(call, NOT_RUN)

    def _answer(self, call: ToolCall, text: str) -> None:
        self._add(Message(role=Role.TOOL, text=text, call_id=call.call_id))

    def _add(self, message: Message, usage: Usage | None = None) -> None:
        self.conversation.append(message)
        self.transcript.add(message, usage)


_A_LITTLE = Usage(input_tokens=1, output_tokens=1)


def _ends_the_run(outcome: Outcome) -> Stop | None:
    """Return why nothing may follow this outcome, or None."""
    if outcome.kind is OutcomeKind.UNKNOWN:
        return Stop.UNKNOWN
    reason = outcome.decision.reason if outcome.decision else ""
    interrupted = outcome.error_code == Interrupted.code or reason == INTERRUPTED
    return Stop.INTERRUPTED if interrupted else None
