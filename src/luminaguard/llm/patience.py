"""Trying again, and trying another model: what keeps a task going when a provider cannot."""

import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from decimal import Decimal

import anyio

from luminaguard.domain.calls import ToolSpec
from luminaguard.errors import (
    ModelAuthError,
    ModelError,
    ModelNotFound,
    ModelQuotaSpent,
    Retry,
)
from luminaguard.llm.model import ChatModel, Message, OnText, Reply
from luminaguard.llm.usage import Usage

ATTEMPTS = 5
FIRST_WAIT_S = 1.0
LONGEST_WAIT_S = 60.0
"""A provider that asks for more has a limit that is not worth waiting for."""

Notice = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class PatientModel:
    """Asks again, later and later, while trying again is safe and can help.

    A reply has no effect of its own, so asking again is safe until it was answered.
    """

    model: ChatModel
    attempts: int = ATTEMPTS
    notice: Notice = lambda _: None
    sleep: Callable[[float], Awaitable[None]] = anyio.sleep
    jitter: Callable[[], float] = random.random

    @property
    def name(self) -> str:
        """The model's own."""
        return self.model.name

    def price(self, usage: Usage) -> Decimal | None:
        """Return the model's own."""
        return self.model.price(usage)

    async def reply(
        self, conversation: Sequence[Message], tools: Sequence[ToolSpec], on_text: OnText
    ) -> Reply:
        """Answer a conversation.

        Raises:
            ModelError: the last one, when trying again cannot help or was tried often enough.
        """
        attempt = 1
        while True:
            try:
                return await self.model.reply(conversation, tools, on_text)
            except ModelError as error:
                wait_s = self._wait_s(error, attempt)
                if error.retry is not Retry.SAFE or attempt >= self.attempts or wait_s is None:
                    raise
                self.notice(f"{error}; asking again in {wait_s:.0f} s")
                await self.sleep(wait_s)
                attempt += 1

    async def close(self) -> None:
        """Close the model."""
        await self.model.close()

    def _wait_s(self, error: ModelError, attempt: int) -> float | None:
        """Exponential with full jitter, but never earlier than the provider asks for."""
        asked = error.context.get("retry_after_s")
        asked_s = float(asked) if isinstance(asked, int | float) else 0.0
        if asked_s > LONGEST_WAIT_S:
            return None
        grown = min(LONGEST_WAIT_S, FIRST_WAIT_S * 2 ** (attempt - 1))
        return max(asked_s, grown * (0.5 + self.jitter() / 2))


@dataclass(slots=True, kw_only=True)
class FallbackChain:
    """The first model that answers; one that cannot is not asked again."""

    models: Sequence[ChatModel]
    """At least one, best first."""
    notice: Notice = lambda _: None
    _at: int = field(default=0, init=False)

    @property
    def name(self) -> str:
        """That of the model in use."""
        return self.models[self._at].name

    def price(self, usage: Usage) -> Decimal | None:
        """Return the highest of all models; None if that of any is unknown."""
        prices = [model.price(usage) for model in self.models]
        known = [price for price in prices if price is not None]
        return max(known) if len(known) == len(prices) else None

    async def reply(
        self, conversation: Sequence[Message], tools: Sequence[ToolSpec], on_text: OnText
    ) -> Reply:
        """Answer a conversation.

        Raises:
            ModelError: of the last model, or one that another model would not mend.
        """
        while True:
            try:
                return await self.models[self._at].reply(conversation, tools, on_text)
            except ModelError as error:
                if not _another_may_help(error) or self._at + 1 >= len(self.models):
                    raise
                self._at += 1
                self.notice(f"{error}; going on with {self.name}")

    async def close(self) -> None:
        """Close all models."""
        for model in self.models:
            await model.close()


def _another_may_help(error: ModelError) -> bool:
    lasting = isinstance(error, ModelAuthError | ModelNotFound | ModelQuotaSpent)
    return lasting or error.retry is Retry.SAFE
