"""`luminaguard run` and `chat` as users run them: a real machine, a model behind a server."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from threading import Event

import pytest

from commandline import WAIT_S, CommandLine
from luminaguard.config import load
from luminaguard.image.image import GuestImage
from providers.answers import Answer, Refusal, Silence, Trouble
from providers.protocols import SPEECHES
from providers.server import ProviderServer, provider_server

ALLOW = {"LUMINAGUARD_ALLOW_UNATTENDED": "1"}


@pytest.fixture
def server() -> Iterator[ProviderServer]:
    with provider_server(SPEECHES["compatible"]) as found:
        yield found


@pytest.fixture
def user(tmp_path: Path) -> CommandLine:
    workspace = tmp_path / "project"
    workspace.mkdir()
    (workspace / "a.txt").write_text("one\n")
    return CommandLine(home=tmp_path / "home", workspace=workspace, cache=load().cache_dir)


def call(tool: str, **arguments: str) -> Answer:
    return Answer(calls=((tool, json.dumps(arguments)),))


def working(user: CommandLine, server: ProviderServer) -> tuple[str, ...]:
    return ("-w", str(user.workspace), "--model", f"{server.url}/v1#m")


@pytest.mark.vm
def test_a_task_is_worked_on_ended_by_an_error_and_gone_on_with(
    user: CommandLine, server: ProviderServer, guest_image: GuestImage
) -> None:
    del guest_image
    patch = "--- a/a.txt\n+++ b/a.txt\n@@ -1 +1 @@\n-one\n+two\n"
    server.will(
        call("shell", command="cat a.txt"),
        call("apply_patch", patch=patch),
        Refusal(trouble=Trouble.CONTEXT),
    )
    given = (*working(user, server), "--approver", "all", "--json")
    ended = user.run("run", "change it", *given, **ALLOW)
    assert ended.returncode == 125
    assert "context length" in ended.stderr
    assert (user.workspace / "a.txt").read_text() == "two\n"
    session = ended.stderr.partition("--resume ")[2].split()[0]
    server.will(Answer(pieces=("It is changed.",)))
    done = user.run("run", "go on", *given, "--resume", session[:12], **ALLOW)
    told = json.loads(done.stdout)
    assert (done.returncode, told["stop"], told["answer"]) == (0, "finished", "It is changed.")
    assert told["usage"] == {"input_tokens": 300, "output_tokens": 60, "cost_usd": None}
    first, second = server.speech.results_in(server.asked[-1].body)
    assert "one" in first
    assert "approved and committed: 1 changed paths" in second


@pytest.mark.vm
def test_a_chat_goes_on_over_one_session_until_its_input_ends(
    user: CommandLine, server: ProviderServer, guest_image: GuestImage
) -> None:
    del guest_image
    server.will(
        call("python", code="open('/tmp/kept', 'w').write('from the first turn')"),
        Answer(pieces=("Kept.",)),
        call("shell", command="cat /tmp/kept"),
        Answer(pieces=("It says so.",)),
    )
    command = [sys.executable, "-m", "luminaguard", "chat", *working(user, server)]
    chat = subprocess.run(
        [*command, "--approver", "deny"],
        input="keep something\nwhat was it?\n/cost\n/quit\n",
        env=user.environment(),
        capture_output=True,
        text=True,
        timeout=WAIT_S,
        check=False,
    )
    assert chat.returncode == 0, chat.stderr
    assert "It says so." in chat.stderr
    assert "400 tokens in, 80 out, cost unknown" in chat.stderr
    results = server.speech.results_in(server.asked[-1].body)
    assert "from the first turn" in results[-1]


@pytest.mark.vm
def test_ctrl_c_while_the_model_thinks_ends_the_run_and_keeps_the_transcript(
    user: CommandLine, server: ProviderServer, guest_image: GuestImage
) -> None:
    del guest_image
    until = Event()
    server.will(call("shell", command="cat a.txt"), Silence(until=until))
    process = user.start("run", "task", *working(user, server), "--approver", "deny", "--json")
    try:
        deadline = time.monotonic() + WAIT_S
        while len(server.asked) < 2:
            assert process.poll() is None
            assert time.monotonic() < deadline, "the model was not asked in time"
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=30)
    finally:
        until.set()
        process.kill()
        process.wait(10)
    told = json.loads(out)
    assert (process.returncode, told["stop"], len(told["calls"])) == (125, "interrupted", 1)
    assert "one" in Path(told["transcript"]).read_text()
    kinds = json.loads(user.run("audit", "list", "--json").stdout)["records"]
    assert kinds[0]["kind"] == "session.ended"


def test_an_estimate_says_what_it_is_based_on_and_sends_nothing(
    user: CommandLine, server: ProviderServer
) -> None:
    done = user.run("run", "a task", *working(user, server), "--estimate", "--json")
    told = json.loads(done.stdout)
    assert told["first_request_tokens"] > 300
    assert told["small"]["input_tokens"] < told["large"]["input_tokens"]
    assert told["small"]["cost_usd"] is None
    assert "assumptions" in told["basis"]
    assert server.asked == []
    assert not (user.home / "state").exists()


def test_an_estimate_with_a_known_price_is_money(user: CommandLine) -> None:
    model = ("--model", "anthropic:claude-sonnet-4-5")
    done = user.run("run", "a task", *model, "--estimate", ANTHROPIC_API_KEY="key")
    assert "middling  " in done.stdout
    assert "$" in done.stdout


def test_a_chat_does_not_share_its_terminal_with_a_screen(user: CommandLine) -> None:
    given = ("-w", str(user.workspace), "--model", "scripted", "--approver", "tui")
    done = user.run("chat", *given)
    assert done.returncode == 125
    assert "the chat needs the terminal" in done.stderr


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ((), "no model is chosen"),
        (("--model", "gpt"), "unknown model"),
        (("--model", "openai:gpt-5"), "there is no key for OpenAI"),
        (("--model", "scripted", "--resume", "nobody"), "no transcript of a session"),
    ],
)
def test_what_cannot_work_is_said_at_once(
    user: CommandLine, given: tuple[str, ...], said: str
) -> None:
    done = user.run("run", "task", "-w", str(user.workspace), "--approver", "deny", *given)
    assert done.returncode == 125
    assert said in done.stderr
    assert done.stdout == ""
