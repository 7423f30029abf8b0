"""A real model, through a grammar, makes a call that goes through the whole chain.

SmolLM2-135M proves that the plumbing holds from a model's own words to a recorded outcome in a real
machine, and no more: its output is forced into the tools' schemas, it cannot use a result, and
which call it makes is as good as chance. `make test-model` installs it and runs this.
"""

import json
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from commandline import CommandLine
from luminaguard.config import load
from luminaguard.image.image import GuestImage

pytestmark = [pytest.mark.vm, pytest.mark.long]
READY_S = 120.0
SERVER = Path(__file__).parent / "smollm_server.py"


@pytest.fixture
def model_url(tmp_path: Path) -> Iterator[str]:
    """The URL of a server with the model in it; skipped where that is not installed."""
    python = os.environ.get("LUMINAGUARD_SMOKE_PYTHON")
    if not python:
        pytest.skip("no small model here: `make test-model` installs one and runs this")
    port_file = tmp_path / "port"
    with (tmp_path / "server.log").open("wb") as log:
        server = subprocess.Popen([python, SERVER, port_file], stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + READY_S
        while not port_file.exists():
            assert server.poll() is None, (tmp_path / "server.log").read_text()[-2000:]
            assert time.monotonic() < deadline, "the model was not ready in time"
            time.sleep(0.1)
        yield f"http://127.0.0.1:{port_file.read_text()}/v1#smollm2-135m"
    finally:
        server.kill()
        server.wait(10)


def test_a_real_models_call_runs_in_a_real_machine(
    tmp_path: Path, guest_image: GuestImage, model_url: str
) -> None:
    del guest_image
    workspace = tmp_path / "project"
    (workspace / "src").mkdir(parents=True)
    (workspace / "src" / "main.py").write_text("print(1)\n")
    user = CommandLine(home=tmp_path / "home", workspace=workspace, cache=load().cache_dir)
    task = "List the files in the folder src"
    where = ("-w", str(workspace), "--approver", "deny", "--max-steps", "2", "--json")
    done = user.run("run", task, "--model", model_url, *where)
    told = json.loads(done.stdout)
    (call,) = told["calls"]
    assert call["outcome"] in {"executed", "discarded", "denied"}
    assert told["usage"]["output_tokens"] > 0
    listed = json.loads(user.run("audit", "list", "--json", "--limit", "0").stdout)["records"]
    kinds = [record["kind"] for record in listed]
    assert kinds.count("model.replied") == 2
    assert "call.outcome" in kinds
