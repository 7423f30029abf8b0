"""A model that answers over HTTP."""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

import anyio
import httpx2
from pydantic_ai.direct import model_request_stream
from pydantic_ai.exceptions import AgentRunError, UserError
from pydantic_ai.messages import (
    ModelResponse,
    PartDeltaEvent,
    PartStartEvent,
    TextPart,
    TextPartDelta,
)
from pydantic_ai.models import Model, ModelRequestParameters
from pydantic_ai.settings import ModelSettings

from luminaguard.domain.calls import ToolSpec
from luminaguard.errors import ModelAnswerBroken, ModelTimedOut, ModelUnreachable
from luminaguard.llm.keys import Key
from luminaguard.llm.model import Message, OnText, Reply
from luminaguard.llm.names import ModelName
from luminaguard.llm.remote.failures import failure
from luminaguard.llm.remote.translate import to_native, to_reply, to_tools
from luminaguard.llm.usage import Usage

MAX_ANSWER_CHARS = 4_000_000
"""Longest answer that is taken in; a server that sends more is cut off."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteModel:
    """One model of one provider. Every reply is streamed."""

    model_name: ModelName
    model: Model
    client: httpx2.AsyncClient
    key: Key | None
    timeout_s: float
    """For one whole reply."""
    max_output_tokens: int

    @property
    def name(self) -> str:
        """As the user wrote it."""
        return str(self.model_name)

    def price(self, usage: Usage) -> Decimal | None:
        """Return what so many tokens would cost by the library's price list; None if unknown.

        Source: genai-prices.
        """
        if self.model_name.provider.is_local:
            return Decimal(0)
        from genai_prices import Usage as Priced  # noqa: PLC0415
        from genai_prices import calc_price  # noqa: PLC0415

        priced = Priced(input_tokens=usage.input_tokens, output_tokens=usage.output_tokens)
        try:
            found = calc_price(
                priced, model_ref=self.model.model_name, provider_id=self.model_name.provider.name
            )
        except LookupError:
            return None
        return found.total_price

    async def reply(
        self, conversation: Sequence[Message], tools: Sequence[ToolSpec], on_text: OnText
    ) -> Reply:
        """Answer a conversation.

        Raises:
            ModelError: as its class says; the key is never in its words.
        """
        try:
            with anyio.fail_after(self.timeout_s):
                response = await self._streamed(conversation, tools, on_text)
        except TimeoutError as error:
            raise ModelTimedOut(
                f"{self.name}: no whole answer within {self.timeout_s:g} s",
                hint="raise timeout_s under [model]",
            ) from error
        except (AgentRunError, UserError) as error:
            raise failure(error, self.model_name, self.key) from error
        except (httpx2.HTTPError, OSError) as error:
            broken = f"{self.name}: the connection broke off: {type(error).__name__}"
            raise ModelUnreachable(broken) from error
        except ValueError as error:  # what the libraries raise on JSON that is none
            raise ModelAnswerBroken(f"{self.name}: the answer cannot be read") from error
        return to_reply(response, is_local=self.model_name.provider.is_local)

    async def close(self) -> None:
        """Close the connections."""
        await self.client.aclose()

    async def _streamed(
        self, conversation: Sequence[Message], tools: Sequence[ToolSpec], on_text: OnText
    ) -> ModelResponse:
        parameters = ModelRequestParameters(function_tools=to_tools(tools))
        settings = ModelSettings(max_tokens=self.max_output_tokens)
        taken = 0
        async with model_request_stream(
            self.model,
            to_native(conversation),
            model_settings=settings,
            model_request_parameters=parameters,
        ) as stream:
            async for event in stream:
                piece = ""
                if isinstance(event, PartStartEvent) and isinstance(event.part, TextPart):
                    piece = event.part.content
                elif isinstance(event, PartDeltaEvent):
                    if isinstance(event.delta, TextPartDelta):
                        piece = event.delta.content_delta
                    taken += _chars(event.delta)
                if piece:
                    on_text(piece)
                if taken > MAX_ANSWER_CHARS:
                    raise ModelAnswerBroken(f"{self.name}: the answer does not end")
            return stream.get()


def _chars(delta: object) -> int:
    """Return how much a piece of an answer holds, whatever it is a piece of."""
    pieces = (getattr(delta, field, None) for field in ("content_delta", "args_delta"))
    return sum(len(piece) for piece in pieces if isinstance(piece, str))
