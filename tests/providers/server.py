"""A provider's server on loopback: answers as told, and remembers what it was asked."""

import contextlib
import json
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

from providers.answers import Answer, CutOff, Endless, Garbage, Refusal, Silence, Step
from providers.protocols import Speech

LONGEST_SILENCE_S = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One request that reached the server."""

    path: str
    headers: Mapping[str, str]
    body: dict[str, Any]


@dataclass(slots=True, kw_only=True)
class ProviderServer:
    """Answers the steps in order; asked further, it says that it has none left (status 418)."""

    speech: Speech
    url: str
    steps: deque[Step] = field(default_factory=deque)
    asked: list[Asked] = field(default_factory=list)

    def will(self, *steps: Step) -> None:
        self.steps.extend(steps)


@contextlib.contextmanager
def provider_server(speech: Speech, steps: Sequence[Step] = ()) -> Iterator[ProviderServer]:
    """Serve one provider's protocol for as long as the context is open."""
    httpd = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    httpd.daemon_threads = True
    server = ProviderServer(speech=speech, url=f"http://127.0.0.1:{httpd.server_port}")
    server.will(*steps)
    httpd.provider = server  # type: ignore[attr-defined]
    thread = Thread(target=httpd.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        httpd.shutdown()
        httpd.server_close()
        thread.join(10)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        provider: ProviderServer = self.server.provider  # type: ignore[attr-defined]
        length = int(self.headers.get("content-length") or 0)
        body = json.loads(self.rfile.read(length) or b"{}")
        headers = {name.lower(): value for name, value in self.headers.items()}
        provider.asked.append(Asked(path=self.path, headers=headers, body=body))
        model = provider.speech.model_of(self.path, body)
        if model is None or not provider.steps:
            self._json(418, {"error": {"message": "no such request, or no answer left"}}, {})
            return
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self._answer(provider.steps.popleft(), provider.speech, model)

    def _answer(self, step: Step, speech: Speech, model: str) -> None:
        match step:
            case Refusal():
                status, body = speech.refusal(step)
                self._json(status, body, step.headers)
            case Answer():
                self._events(speech.stream(step, model), whole=True)
            case CutOff():
                events = list(speech.stream(step.answer, model))
                self._events(iter(events[: max(1, len(events) // 2)]), whole=False)
            case Garbage():
                self._events(iter([step.body]), whole=True)
            case Endless():
                self._events(speech.endless(step.piece, model), whole=True)
            case Silence():
                step.until.wait(LONGEST_SILENCE_S)
                self.close_connection = True

    def _events(self, events: Iterator[bytes], *, whole: bool) -> None:
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        for data in events:
            self.wfile.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")
            self.wfile.flush()
        if whole:
            self.wfile.write(b"0\r\n\r\n")
        else:
            self.close_connection = True

    def _json(self, status: int, body: object, headers: Mapping[str, str]) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(data)))
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        del format, args
