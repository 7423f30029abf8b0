"""The providers' protocols, as far as a streamed reply with tool calls needs them.

Source: the API references of OpenAI (chat completions), Anthropic (messages), Google (generate
content) and Mistral (chat completions).
"""

import json
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, Protocol

from providers.answers import Answer, Refusal, Trouble

Json = dict[str, Any]


class Speech(Protocol):
    """One provider's protocol."""

    name: str

    def model_of(self, path: str, body: Json) -> str | None:
        """Return the model that is asked, or None when this is no request for a reply."""
        ...

    def key_of(self, headers: Mapping[str, str]) -> str:
        """Return the key that came with the request."""
        ...

    def stream(self, answer: Answer, model: str) -> Iterator[bytes]:
        """Yield the server-sent events of a reply."""
        ...

    def refusal(self, refusal: Refusal) -> tuple[int, Json]:
        """Return status and body of an error."""
        ...

    def endless(self, piece: str, model: str) -> Iterator[bytes]:
        """Yield the beginning of a reply, and then its text for ever."""
        ...

    def tools_in(self, body: Json) -> dict[str, Json]:
        """Return the offered tools, name → JSON Schema."""
        ...

    def results_in(self, body: Json) -> list[str]:
        """Return the tool results in the conversation."""
        ...


def event(data: Json, name: str = "") -> bytes:
    head = f"event: {name}\n" if name else ""
    return f"{head}data: {json.dumps(data)}\n\n".encode()


def halves(text: str) -> tuple[str, str]:
    return text[: len(text) // 2], text[len(text) // 2 :]


class OpenAI:
    name = "openai"
    _path = "/chat/completions"
    _statuses: ClassVar = {
        Trouble.AUTH: (401, "invalid_api_key", "invalid_request_error"),
        Trouble.NOT_FOUND: (404, "model_not_found", "invalid_request_error"),
        Trouble.RATE: (429, "rate_limit_exceeded", "requests"),
        Trouble.QUOTA: (429, "insufficient_quota", "insufficient_quota"),
        Trouble.OVERLOAD: (503, "overloaded", "server_error"),
        Trouble.SERVER: (500, "server_error", "server_error"),
        Trouble.CONTEXT: (400, "context_length_exceeded", "invalid_request_error"),
    }

    def model_of(self, path: str, body: Json) -> str | None:
        asked = path.endswith(self._path) and body.get("stream") is True
        return str(body.get("model")) if asked else None

    def key_of(self, headers: Mapping[str, str]) -> str:
        return headers.get("authorization", "").removeprefix("Bearer ")

    def _chunk(self, model: str, delta: Json, finish: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "finish_reason": finish}
        return event(
            {
                "id": "chunk",
                "object": "chat.completion.chunk",
                "created": 1_700_000_000,
                "model": model,
                "choices": [choice],
            }
        )

    def stream(self, answer: Answer, model: str) -> Iterator[bytes]:
        yield self._chunk(model, {"role": "assistant", "content": ""})
        for piece in answer.pieces:
            yield self._chunk(model, {"content": piece})
        for index, (tool, arguments) in enumerate(answer.calls):
            yield from self._call(model, index, tool, arguments)
        yield self._chunk(model, {}, "tool_calls" if answer.calls else "stop")
        if answer.usage:
            usage = {
                "prompt_tokens": answer.input_tokens,
                "completion_tokens": answer.output_tokens,
                "total_tokens": answer.input_tokens + answer.output_tokens,
            }
            last: Json = {
                "id": "chunk",
                "object": "chat.completion.chunk",
                "created": 1_700_000_000,
                "model": model,
                "choices": [],
                "usage": usage,
            }
            yield event(last)
        yield b"data: [DONE]\n\n"

    def _call(self, model: str, index: int, tool: str, arguments: str) -> Iterator[bytes]:
        first, second = halves(arguments)
        call = {"index": index, "id": "call_same", "type": "function"}
        named = call | {"function": {"name": tool, "arguments": first}}
        yield self._chunk(model, {"tool_calls": [named]})
        rest = {"index": index, "function": {"arguments": second}}
        yield self._chunk(model, {"tool_calls": [rest]})

    def endless(self, piece: str, model: str) -> Iterator[bytes]:
        while True:
            yield self._chunk(model, {"content": piece})

    def refusal(self, refusal: Refusal) -> tuple[int, Json]:
        status, code, kind = self._statuses[refusal.trouble]
        message = f"{refusal.trouble}. {refusal.echo}"
        return status, {"error": {"message": message, "type": kind, "code": code, "param": None}}

    def tools_in(self, body: Json) -> dict[str, Json]:
        tools = [tool["function"] for tool in body.get("tools", [])]
        return {tool["name"]: tool["parameters"] for tool in tools}

    def results_in(self, body: Json) -> list[str]:
        return [said["content"] for said in body["messages"] if said["role"] == "tool"]


class Mistral(OpenAI):
    name = "mistral"
    _path = "/chat/completions"
    _statuses: ClassVar = {
        Trouble.AUTH: (401, "1000", "unauthorized"),
        Trouble.NOT_FOUND: (400, "1500", "invalid_model"),
        Trouble.RATE: (429, "1300", "rate_limited"),
        Trouble.QUOTA: (402, "1400", "payment_required"),
        Trouble.OVERLOAD: (503, "3505", "service_unavailable"),
        Trouble.SERVER: (500, "3000", "internal_server_error"),
        Trouble.CONTEXT: (400, "3051", "invalid_request_prompt"),
    }

    def _call(self, model: str, index: int, tool: str, arguments: str) -> Iterator[bytes]:
        function = {"name": tool, "arguments": arguments}  # never in pieces
        call = {"index": index, "id": f"call{index:05}", "function": function}
        yield self._chunk(model, {"tool_calls": [call]})

    def refusal(self, refusal: Refusal) -> tuple[int, Json]:
        status, code, kind = self._statuses[refusal.trouble]
        message = f"{refusal.trouble}. {refusal.echo}"
        return status, {"object": "error", "message": message, "type": kind, "code": code}


class Anthropic:
    name = "anthropic"
    _statuses: ClassVar = {
        Trouble.AUTH: (401, "authentication_error"),
        Trouble.NOT_FOUND: (404, "not_found_error"),
        Trouble.RATE: (429, "rate_limit_error"),
        Trouble.QUOTA: (402, "billing_error"),
        Trouble.OVERLOAD: (529, "overloaded_error"),
        Trouble.SERVER: (500, "api_error"),
        Trouble.CONTEXT: (400, "invalid_request_error"),
    }

    def model_of(self, path: str, body: Json) -> str | None:
        asked = path.partition("?")[0].endswith("/v1/messages") and body.get("stream") is True
        return str(body.get("model")) if asked else None

    def key_of(self, headers: Mapping[str, str]) -> str:
        bearer = headers.get("authorization", "").removeprefix("Bearer ")
        return headers.get("x-api-key") or bearer

    def _start(self, model: str, tokens: int) -> bytes:
        message = {
            "id": "msg",
            "type": "message",
            "role": "assistant",
            "model": model,
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "usage": {"input_tokens": tokens, "output_tokens": 1},
        }
        return event({"type": "message_start", "message": message}, "message_start")

    def _block(self, index: int, block: Json, deltas: list[Json]) -> Iterator[bytes]:
        started = {"type": "content_block_start", "index": index, "content_block": block}
        yield event(started, "content_block_start")
        for delta in deltas:
            yield event(
                {"type": "content_block_delta", "index": index, "delta": delta},
                "content_block_delta",
            )
        yield event({"type": "content_block_stop", "index": index}, "content_block_stop")

    def stream(self, answer: Answer, model: str) -> Iterator[bytes]:
        yield self._start(model, answer.input_tokens)
        index = 0
        if answer.pieces:
            deltas = [{"type": "text_delta", "text": piece} for piece in answer.pieces]
            yield from self._block(index, {"type": "text", "text": ""}, deltas)
            index += 1
        for tool, arguments in answer.calls:
            block = {"type": "tool_use", "id": f"toolu_{index}", "name": tool, "input": {}}
            deltas = [
                {"type": "input_json_delta", "partial_json": half} for half in halves(arguments)
            ]
            yield from self._block(index, block, deltas)
            index += 1
        stop = {"stop_reason": "tool_use" if answer.calls else "end_turn", "stop_sequence": None}
        used = {"output_tokens": answer.output_tokens}
        yield event({"type": "message_delta", "delta": stop, "usage": used}, "message_delta")
        yield event({"type": "message_stop"}, "message_stop")

    def endless(self, piece: str, model: str) -> Iterator[bytes]:
        yield self._start(model, 1)
        block = {"type": "content_block_start", "index": 0}
        yield event(block | {"content_block": {"type": "text", "text": ""}}, "content_block_start")
        while True:
            delta = {"type": "text_delta", "text": piece}
            yield event(
                {"type": "content_block_delta", "index": 0, "delta": delta}, "content_block_delta"
            )

    def refusal(self, refusal: Refusal) -> tuple[int, Json]:
        status, kind = self._statuses[refusal.trouble]
        said = "prompt is too long: 300000 tokens > 200000 maximum"
        words = said if refusal.trouble is Trouble.CONTEXT else str(refusal.trouble)
        error = {"type": kind, "message": f"{words}. {refusal.echo}"}
        return status, {"type": "error", "error": error}

    def tools_in(self, body: Json) -> dict[str, Json]:
        return {tool["name"]: tool["input_schema"] for tool in body.get("tools", [])}

    def results_in(self, body: Json) -> list[str]:
        blocks = [
            block
            for said in body["messages"]
            if isinstance(said["content"], list)
            for block in said["content"]
        ]
        results = [block["content"] for block in blocks if block["type"] == "tool_result"]
        return [
            result if isinstance(result, str) else "".join(part["text"] for part in result)
            for result in results
        ]


class Google:
    name = "google"
    _statuses: ClassVar = {
        Trouble.AUTH: (403, "PERMISSION_DENIED"),
        Trouble.NOT_FOUND: (404, "NOT_FOUND"),
        Trouble.RATE: (429, "RESOURCE_EXHAUSTED"),
        Trouble.QUOTA: (402, "FAILED_PRECONDITION"),
        Trouble.OVERLOAD: (503, "UNAVAILABLE"),
        Trouble.SERVER: (500, "INTERNAL"),
        Trouble.CONTEXT: (400, "INVALID_ARGUMENT"),
    }

    def model_of(self, path: str, body: Json) -> str | None:
        del body
        head, _, verb = path.partition(":")
        asked = verb.startswith("streamGenerateContent")
        return head.rsplit("/", 1)[-1] if asked else None

    def key_of(self, headers: Mapping[str, str]) -> str:
        return headers.get("x-goog-api-key", "")

    def _chunk(self, model: str, parts: list[Json], **more: object) -> bytes:
        candidate: Json = {"content": {"role": "model", "parts": parts}, "index": 0}
        if "finishReason" in more:
            candidate["finishReason"] = more.pop("finishReason")
        return event({"candidates": [candidate], "modelVersion": model, **more})

    def stream(self, answer: Answer, model: str) -> Iterator[bytes]:
        for piece in answer.pieces:
            yield self._chunk(model, [{"text": piece}])
        for tool, arguments in answer.calls:
            try:
                given = json.loads(arguments)
            except ValueError:  # the protocol has no text form that could be broken
                given = {"unreadable_arguments": arguments}
            yield self._chunk(model, [{"functionCall": {"name": tool, "args": given}}])
        usage = {
            "promptTokenCount": answer.input_tokens,
            "candidatesTokenCount": answer.output_tokens,
            "totalTokenCount": answer.input_tokens + answer.output_tokens,
        }
        more = {"usageMetadata": usage} if answer.usage else {}
        yield self._chunk(model, [{"text": ""}], finishReason="STOP", **more)

    def endless(self, piece: str, model: str) -> Iterator[bytes]:
        while True:
            yield self._chunk(model, [{"text": piece}])

    def refusal(self, refusal: Refusal) -> tuple[int, Json]:
        status, kind = self._statuses[refusal.trouble]
        said = "The input token count (2000000) exceeds the maximum number of tokens allowed"
        words = said if refusal.trouble is Trouble.CONTEXT else str(refusal.trouble)
        error = {"code": status, "message": f"{words}. {refusal.echo}", "status": kind}
        return status, {"error": error}

    def tools_in(self, body: Json) -> dict[str, Json]:
        declared = [
            function for tool in body.get("tools", []) for function in tool["functionDeclarations"]
        ]
        return {function["name"]: function["parameters_json_schema"] for function in declared}

    def results_in(self, body: Json) -> list[str]:
        parts = [part for said in body["contents"] for part in said["parts"]]
        answers = [
            part["functionResponse"]["response"] for part in parts if "functionResponse" in part
        ]
        return [str(next(iter(answer.values()))) for answer in answers]


SPEECHES: dict[str, Speech] = {
    "openai": OpenAI(),
    "anthropic": Anthropic(),
    "google": Google(),
    "mistral": Mistral(),
    "ollama": OpenAI(),
    "llamacpp": OpenAI(),
    "compatible": OpenAI(),
}
