"""What LuminaGuard itself adds to an agent's step, and to its start.

    python benchmarks/agent.py [--steps 200] [--starts 5] > benchmarks/results/FILE.json

A step is one reply of the model and one call. The model is scripted and the machine is a double in
memory, so what is measured is everything else: transcript, policy, records on disk, the guard, the
harvest of nothing. Floor of the same run: two durable appends to the audit log, which each call
has at least. The start is a whole `luminaguard run` up to the model's first request, which reaches
a server on loopback; its floor is the interpreter's own start. Milliseconds and MiB; raw samples.
"""

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, HTTPServer
from itertools import pairwise
from pathlib import Path
from threading import Thread
from typing import ClassVar

import anyio

from luminaguard.agent.limits import Limits
from luminaguard.audit.log import AuditLog
from luminaguard.audit.records import RecordKind
from luminaguard.config import Settings, VmSettings
from luminaguard.domain.calls import ToolCall, ToolSpec
from luminaguard.domain.execution import Execution, GuestReport
from luminaguard.domain.outcome import Outcome
from luminaguard.image.image import GuestImage
from luminaguard.llm.model import Message, OnText, Reply
from luminaguard.llm.usage import Usage
from luminaguard.runtime import Session
from luminaguard.testing.hypervisor import FakeGuest, FakeHypervisor, exited

STEP, FLOOR = "step", "two durable appends"
START, BARE = "run to first request", "python -c pass"


class Stepping:
    """Calls `ls` a number of times, noting when it is asked."""

    name = "stepping"

    def __init__(self, steps: int) -> None:
        self._left = steps
        self.asked: list[float] = []

    def price(self, usage: Usage) -> Decimal:
        del usage
        return Decimal(0)

    async def reply(
        self, conversation: Sequence[Message], tools: Sequence[ToolSpec], on_text: OnText
    ) -> Reply:
        del conversation, tools, on_text
        self.asked.append(time.perf_counter())
        self._left -= 1
        if self._left < 0:
            return Reply(text="done")
        call = ToolCall(call_id=f"c{self._left}", tool="shell", arguments={"command": "ls"})
        return Reply(text="", calls=(call,))

    async def close(self) -> None:
        pass


class Nobody:
    """Looks at nothing."""

    def saying(self, piece: str) -> None:
        del piece

    def said(self, reply: Reply) -> None:
        del reply

    def calling(self, call: ToolCall) -> None:
        del call

    def ended(self, outcome: Outcome) -> None:
        del outcome


def settings_in(root: Path) -> Settings:
    return Settings(
        state_dir=root / "state",
        cache_dir=root / "cache",
        config_file=root / "config" / "config.toml",
        vm=VmSettings(scratch_mib=8),
    )


def listing(guest: FakeGuest, execution: Execution) -> GuestReport:
    del guest, execution
    return exited(0, stdout=b"README\n")


async def steps(root: Path, count: int) -> list[float]:
    project = root / "project"
    project.mkdir()
    (project / "README").write_text("read me\n")
    model = Stepping(count)
    session = Session(
        project,
        approver="deny",
        settings=settings_in(root),
        hypervisor=FakeHypervisor({"/bin/bash": listing}),
        image=GuestImage(directory=root / "image", digest="0" * 64),
    )
    async with session:
        limits = Limits(steps=count + 1)
        await session.run("task", model=model, observer=Nobody(), limits=limits)
    return [(after - before) * 1000 for before, after in pairwise(model.asked)]


def appends(root: Path, count: int) -> list[float]:
    log = AuditLog.open(root / "floor")
    taken: list[float] = []
    for _ in range(count):
        started = time.perf_counter()
        for _ in range(2):
            log.append(RecordKind.MODEL_REPLIED, {"x": "y" * 300}, session_id="s")
        taken.append((time.perf_counter() - started) * 1000)
    log.close()
    return taken


class Waiting(BaseHTTPRequestHandler):
    """Notes when the first request comes, and refuses it."""

    came: ClassVar[list[float]] = []

    def do_POST(self) -> None:
        self.came.append(time.perf_counter())
        self.send_response(401)
        self.send_header("content-length", "2")
        self.end_headers()
        with suppress(OSError):
            self.wfile.write(b"{}")

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        del format, args


def starts(root: Path, count: int) -> tuple[list[float], list[float]]:
    server = HTTPServer(("127.0.0.1", 0), Waiting)
    Thread(target=server.serve_forever, daemon=True).start()
    project = root / "project-of-starts"
    project.mkdir()
    url = f"http://127.0.0.1:{server.server_port}/v1#m"
    command = ["-m", "luminaguard", "run", "x", "-w", str(project), "--model", url]
    environ = {**os.environ, "LUMINAGUARD_STATE_DIR": str(root / "starts")}
    taken: list[float] = []
    bare: list[float] = []
    for _ in range(count):
        began = time.perf_counter()
        subprocess.run([sys.executable, "-c", "pass"], check=True)
        bare.append((time.perf_counter() - began) * 1000)
        Waiting.came.clear()
        began = time.perf_counter()
        subprocess.run(
            [sys.executable, *command, "--approver", "deny"],
            env=environ,
            capture_output=True,
            check=False,
        )
        taken.append((Waiting.came[0] - began) * 1000)
    server.shutdown()
    return taken, bare


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--steps", type=int, default=200)
    options.add_argument("--starts", type=int, default=5)
    chosen = options.parse_args()
    with tempfile.TemporaryDirectory(dir=Path.home()) as directory:
        root = Path(directory)
        samples = {
            STEP: anyio.run(steps, root, chosen.steps),
            FLOOR: appends(root, chosen.steps),
        }
        samples[START], samples[BARE] = starts(root, chosen.starts)
    import pydantic_ai.models.openai  # noqa: F401, PLC0415

    import luminaguard.llm.remote.model  # noqa: F401, PLC0415 - what a real run holds

    memory_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    report = {
        "machine": platform.platform(),
        "python": platform.python_version(),
        "processors": os.cpu_count(),
        "load": os.getloadavg(),
        "median_ms": {name: round(statistics.median(taken), 2) for name, taken in samples.items()},
        "step_to_floor": round(
            statistics.median(samples[STEP]) / statistics.median(samples[FLOOR]), 2
        ),
        "host_process_mib": round(memory_mib, 1),
        "samples_ms": {
            name: [round(value, 3) for value in taken] for name, taken in samples.items()
        },
    }
    print(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
