"""Deciding from another process: `luminaguard exec --approver queue` and `luminaguard approvals`.

Every process is a real one, with the real command line; only the machine is a fake.
"""

import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import anyio
import pytest

from commandline import CommandLine
from desks import SECRET
from luminaguard.approval.desk.client import RemoteDesk, find_desks
from luminaguard.approval.desk.desk import UNSEEN, Answer
from luminaguard.approval.desk.refusals import DeskLost
from luminaguard.approval.desk.secret import FILE_NAME, enroll, enrolled, statement, unlock
from luminaguard.audit.query import Query
from luminaguard.audit.reader import AuditReader
from luminaguard.audit.records import Record
from luminaguard.domain.approval import End
from trees import fingerprint

pytestmark = pytest.mark.skipif(
    not hasattr(os, "openpty") or sys.platform != "linux", reason="needs Linux terminals"
)

WAIT_S = 60.0
ASKING = Path(__file__).with_name("asking_world.py")
ON_TERMINAL = """
import fcntl, os, sys, termios
terminal = os.open(sys.argv[1], os.O_RDWR)
fcntl.ioctl(terminal, termios.TIOCSCTTY, 0)
os.execv(sys.executable, [sys.executable, *sys.argv[2:]])
"""


@dataclass
class Scene:
    """One user: a workspace, a state directory, and terminals to type on."""

    line: CommandLine

    @property
    def state(self) -> Path:
        return self.line.home / "state"

    @property
    def tree(self) -> Path:
        return self.line.workspace

    @contextmanager
    def asking(self, *arguments: str, **more: str) -> Iterator[subprocess.Popen[bytes]]:
        """Run a command that asks; it is killed at the end if it still runs."""
        process = subprocess.Popen(
            [sys.executable, str(ASKING), *arguments],
            env=self.line.environment(**more),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        with process:
            try:
                yield process
            finally:
                process.kill()

    def edit(self, *options: str) -> Any:
        given = ("-w", str(self.tree), "--approver", "queue", "--json")
        return self.asking("exec", *given, *options, "--", "edit")

    def open_request(self) -> dict[str, Any]:
        """Wait until one request is open, and return it as other processes see it."""
        until = time.monotonic() + WAIT_S
        while time.monotonic() < until and not any(map(has_question, self.desks())):
            time.sleep(0.02)
        listed = json.loads(self.line.run("approvals", "list", "--json").stdout)
        (request,) = listed["requests"]
        return dict(request)

    def desks(self) -> tuple[RemoteDesk, ...]:
        return find_desks(self.state / "run")

    @contextmanager
    def on_terminal(
        self, *arguments: str, fake: bool = False
    ) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
        """Run a command on a terminal of its own; standard input is closed."""
        program = (str(ASKING),) if fake else ("-m", "luminaguard")
        ours, theirs = pty.openpty()
        process = subprocess.Popen(
            [sys.executable, "-c", ON_TERMINAL, os.ttyname(theirs), *program, *arguments],
            env=self.line.environment(TERM="xterm"),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        with process:
            try:
                yield process, ours
            finally:
                process.kill()
                os.close(ours)
                os.close(theirs)

    def typed(self, *arguments: str, lines: tuple[tuple[str, str], ...]) -> tuple[int, str, str]:
        """Run a command, answering each question that appears; returns code, output, screen."""
        with self.on_terminal(*arguments) as (process, terminal):
            screen = ""
            for question, answer in lines:
                screen += until_shown(terminal, question)
                os.write(terminal, f"{answer}\r".encode())
            out, err = process.communicate(timeout=WAIT_S)
            return process.returncode, out.decode() + err.decode(), screen

    def approve(self, request_id: str, secret: str = SECRET) -> tuple[int, str, str]:
        return self.typed("approvals", "approve", request_id, lines=(("secret: ", secret),))

    def records(self, kind: str) -> list[Record]:
        return AuditReader(self.state).find(Query(kind=kind, newest_first=False))

    def ends(self) -> list[Any]:
        return [record.body["decision"] for record in self.records("approval.decided")]


def has_question(desk: RemoteDesk) -> bool:
    try:
        anyio.run(desk.wait_for_change, UNSEEN)
    except DeskLost:
        return False
    return bool(desk.pending())


def until_shown(terminal: int, text: str) -> str:
    """Read from a terminal until a text appears."""
    shown = ""
    until = time.monotonic() + WAIT_S
    while text not in shown:
        left_s = until - time.monotonic()
        ready, _, _ = select.select([terminal], [], [], max(0.0, left_s))
        assert ready, f"{text!r} never appeared, only {shown!r}"
        shown += os.read(terminal, 4096).decode()
    return shown


def ended(process: subprocess.Popen[bytes]) -> tuple[int, Any, str]:
    out, err = process.communicate(timeout=WAIT_S)
    return process.returncode, json.loads(out) if out else None, err.decode()


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    tree = tmp_path / "project"
    (tree / "src").mkdir(parents=True)
    (tree / "src" / "main.py").write_text("print('one')\n")
    (tree / "README").write_text("read me\n")
    home = tmp_path / "home"
    home.mkdir()
    enroll(home / "state", SECRET, at=datetime.now(UTC))
    return Scene(CommandLine(home=home, workspace=tree, cache=tmp_path / "cache"))


@pytest.mark.guarantee("G1")
@pytest.mark.guarantee("G2")
def test_a_card_is_read_and_approved_in_another_terminal(scene: Scene) -> None:
    with scene.edit() as process:
        request = scene.open_request()
        assert (request["pid"], request["risk"]) == (process.pid, "high")
        assert str(scene.tree) in request["origin"]
        card = scene.line.run("approvals", "show", request["id"]).stdout
        assert "print('two')" in card
        assert "README" in card
        code, told, screen = scene.approve(request["id"])
        assert code == 0, told
        assert "print('two')" in told
        assert "approved" in told
        assert SECRET not in screen + told
        code, outcome, _ = ended(process)
    assert (code, outcome["outcome"]) == (0, "committed")
    (asked,) = scene.records("approval.requested")
    card_asked: Any = asked.body["card"]
    assert outcome["changeset"]["digest"] == card_asked["request"]["changeset_digest"]
    assert (scene.tree / "src/main.py").read_text() == "print('two')\n"
    assert not (scene.tree / "README").exists()
    (decision,) = scene.ends()
    assert (decision["end"], decision["approver"]) == ("approved", "queue")
    assert is_signed_by_the_approver(scene)
    assert scene.line.audit_verifies()
    assert list((scene.state / "run" / "desks").iterdir()) == []


def is_signed_by_the_approver(scene: Scene) -> bool:
    """Check the record alone against the enrolled key, as anybody could later."""
    (record,) = scene.records("approval.decided")
    body: Any = record.body
    decision = body["decision"]
    answer = Answer(end=End(decision["end"]), reason=decision["reason"], grant=decision["grant"])
    said = re.search(
        r"key (?P<key>\w+), challenge (?P<challenge>\w+), signature (?P<signature>\w+)",
        decision["proof"],
    )
    assert said is not None
    assert said["key"] == kept(scene).fingerprint
    signed = statement(body["request_digest"], answer, said["challenge"])
    return bool(kept(scene).is_signed(signed, bytes.fromhex(said["signature"])))


def kept(scene: Scene) -> Any:
    return enrolled(scene.state)


@pytest.mark.guarantee("G1")
def test_a_rejection_with_a_reason_leaves_everything_as_it_was(scene: Scene) -> None:
    before = fingerprint(scene.tree)
    with scene.edit() as process:
        request = scene.open_request()
        said = scene.line.run("approvals", "reject", request["id"], "--reason", "keep the README")
        assert said.returncode == 0
        code, outcome, _ = ended(process)
    assert (code, outcome["outcome"]) == (126, "discarded")
    assert outcome["decision"]["reason"] == "keep the README"
    assert fingerprint(scene.tree) == before
    assert [end["end"] for end in scene.ends()] == ["rejected"]


@pytest.mark.guarantee("G4")
def test_what_nobody_decides_expires(scene: Scene) -> None:
    before = fingerprint(scene.tree)
    with scene.edit("--approval-timeout", "0.5") as process:
        code, outcome, _ = ended(process)
    assert (code, outcome["decision"]["end"]) == (126, "expired")
    assert fingerprint(scene.tree) == before
    assert [end["end"] for end in scene.ends()] == ["expired"]


@pytest.mark.guarantee("G1")
def test_without_the_secret_another_process_cannot_approve(scene: Scene) -> None:
    before = fingerprint(scene.tree)
    with scene.edit() as process:
        request = scene.open_request()
        blind = scene.line.run("approvals", "approve", request["id"])
        assert (blind.returncode, "no terminal" in blind.stderr) == (125, True)
        wrong = ("secret: ", "not the secret")
        code, told, _ = scene.typed("approvals", "approve", request["id"], lines=(wrong,) * 3)
        assert (code, "not the approver secret" in told) == (125, True)
        assert scene.open_request()["id"] == request["id"]
        scene.line.run("approvals", "reject", request["id"])
        assert ended(process)[0] == 126
    assert fingerprint(scene.tree) == before


@pytest.mark.guarantee("G4")
def test_the_request_survives_the_screen_and_another_screen_decides(scene: Scene) -> None:
    with scene.edit() as process:
        request = scene.open_request()
        with scene.on_terminal("approvals", "approve", request["id"]) as (screen, terminal):
            until_shown(terminal, "secret: ")
            screen.send_signal(signal.SIGKILL)
            screen.wait(WAIT_S)
        assert process.poll() is None
        assert scene.open_request()["id"] == request["id"]
        assert scene.approve(request["id"])[0] == 0
        assert ended(process)[0] == 0


@pytest.mark.guarantee("G4")
def test_a_request_that_was_open_when_luminaguard_was_killed_is_expired_never_approved(
    scene: Scene,
) -> None:
    before = fingerprint(scene.tree)
    with scene.edit() as process:
        request = scene.open_request()
        process.send_signal(signal.SIGKILL)
        process.wait(WAIT_S)
    assert scene.ends() == []
    late = scene.line.run("approvals", "approve", request["id"])
    assert (late.returncode, "no request" in late.stderr) == (125, True)
    with scene.asking("exec", "-w", str(scene.tree), "--json", "--", "true") as process:
        assert ended(process)[0] == 0
    (decision,) = scene.ends()
    assert (decision["end"], decision["approver"]) == ("expired", "nobody")
    assert "ended while the request was open" in decision["reason"]
    assert [record.kind for record in scene.records("intent.unknown")] == ["intent.unknown"]
    assert fingerprint(scene.tree) == before
    assert scene.line.audit_verifies()
    with scene.asking("exec", "-w", str(scene.tree), "--json", "--", "true") as process:
        assert ended(process)[0] == 0
    assert len(scene.ends()) == 1, "a request ends once"


@pytest.mark.guarantee("G4")
def test_an_interrupted_session_withdraws_its_request(scene: Scene) -> None:
    before = fingerprint(scene.tree)
    with scene.edit() as process:
        scene.open_request()
        process.send_signal(signal.SIGINT)
        code, outcome, _ = ended(process)
    assert (code, outcome["error"]["code"]) == (125, "interrupted")
    (decision,) = scene.ends()
    assert (decision["end"], decision["reason"][:9]) == ("failed", "withdrawn")
    assert json.loads(scene.line.run("approvals", "list", "--json").stdout) == {"requests": []}
    assert fingerprint(scene.tree) == before


def test_an_agents_call_is_decided_in_another_process(scene: Scene) -> None:
    call = {"tool": "shell", "arguments": {"command": "edit"}}
    turns = [{"say": "I edit.", "calls": [call]}, {"say": "Done."}]
    script = scene.line.home / "script.json"
    script.write_text(json.dumps({"turns": turns}))
    given = ("run", "-w", str(scene.tree), "--approver", "queue", "--json")
    with scene.asking(*given, "--model", f"scripted:{script}", "tidy up") as process:
        request = scene.open_request()
        assert request["tool"] == "shell"
        assert scene.approve(request["id"])[0] == 0
        code, run, err = ended(process)
    assert (code, run["stop"]) == (0, "finished"), err
    assert [one["outcome"] for one in run["calls"]] == ["committed"]
    assert not (scene.tree / "README").exists()


@pytest.mark.guarantee("G1")
def test_a_queue_in_which_nobody_could_approve_does_not_begin(scene: Scene) -> None:
    (scene.state / FILE_NAME).unlink()
    with scene.edit() as process:
        code, outcome, err = ended(process)
    assert (code, outcome["error"]["code"]) == (125, "approval")
    assert "luminaguard approvals enroll" in outcome["error"]["hint"]
    assert "no approver secret is enrolled" in err


def test_unattended_use_is_allowed_by_an_explicit_entry_and_recorded_as_such(scene: Scene) -> None:
    (scene.state / FILE_NAME).unlink()
    config = scene.line.home / "config" / "config.toml"
    config.parent.mkdir()
    config.write_text("[approval]\nallow_unattended = true\n")
    with scene.edit() as process:
        request = scene.open_request()
        assert scene.line.run("approvals", "approve", request["id"]).returncode == 0
        assert ended(process)[0] == 0
    (decision,) = scene.ends()
    assert "unattended use is allowed by configuration" in decision["proof"]


def test_what_the_terminal_leaves_unanswered_is_offered_elsewhere_and_recorded_so(
    scene: Scene,
) -> None:
    config = scene.line.home / "config" / "config.toml"
    config.parent.mkdir()
    config.write_text("[approval]\nescalate_after_s = 0.2\n")
    given = ("exec", "-w", str(scene.tree), "--approver", "tty", "--json", "--", "edit")
    with scene.on_terminal(*given, fake=True) as (process, terminal):
        until_shown(terminal, "approve")
        request = scene.open_request()
        assert scene.approve(request["id"])[0] == 0
        code, outcome, err = ended(process)
    assert (code, outcome["outcome"]) == (0, "committed")
    assert "tty and queue can now answer" in err
    (decision,) = scene.ends()
    assert (decision["approver"], decision["offered"]) == ("queue", ["tty", "queue"])


@pytest.mark.guarantee("G1")
def test_a_secret_is_enrolled_and_changed_on_the_terminal_only(scene: Scene) -> None:
    path = scene.state / FILE_NAME
    path.unlink()
    blind = scene.line.run("approvals", "enroll")
    assert (blind.returncode, path.exists()) == (125, False)
    first = (("characters: ", "first secret"), ("once more: ", "first secret"))
    assert scene.typed("approvals", "enroll", lines=first)[0] == 0
    made = kept(scene)
    assert unlock(made, "first secret")
    differ = (("secret: ", "first secret"), ("characters: ", "new secret"), ("more: ", "typo here"))
    assert scene.typed("approvals", "enroll", lines=differ)[0] == 125
    stranger = (("secret: ", "a guess at it"),) * 3
    assert scene.typed("approvals", "enroll", lines=stranger)[0] == 125
    assert kept(scene) == made
    changed = (
        ("secret: ", "first secret"),
        ("characters: ", "new secret"),
        ("more: ", "new secret"),
    )
    assert scene.typed("approvals", "enroll", lines=changed)[0] == 0
    assert unlock(kept(scene), "new secret")


@pytest.mark.guarantee("G1")
@pytest.mark.parametrize(
    ("typed", "outcome"), [(SECRET + "\r", "committed"), ("\x03", "failed"), ("\x04", "failed")]
)
def test_approving_everything_can_be_allowed_with_the_secret(
    scene: Scene, typed: str, outcome: str
) -> None:
    given = ("exec", "-w", str(scene.tree), "--approver", "all", "--json", "--", "edit")
    with scene.on_terminal(*given, fake=True) as (process, terminal):
        until_shown(terminal, "secret: ")
        os.write(terminal, typed.encode())
        out, _ = process.communicate(timeout=WAIT_S)
    assert json.loads(out)["outcome"] == outcome
    if outcome == "committed":
        (decision,) = scene.ends()
        assert decision["proof"] == "unattended use allowed by approver secret"
    assert (scene.tree / "README").exists() == (outcome == "failed")
