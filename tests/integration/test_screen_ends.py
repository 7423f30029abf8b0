"""A human at the full-screen terminal UI, through a real pseudo-terminal: each end, and its record.

Everything but the machine is real: the terminal, the screen, the guard, the log, the commit.
"""

import json
import os
import signal
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest

from luminaguard.audit.query import Query
from luminaguard.audit.reader import AuditReader
from ptyscreen import Human, at_terminal
from trees import fingerprint
from world import World

pytestmark = [pytest.mark.guarantee("G1"), pytest.mark.guarantee("G4")]

CHILD = Path(__file__).with_name("screen_child.py")
EDIT = {"programs": {"edit": {"app.py": "new = 2\n", "README": None}}, "calls": ["edit"]}


@pytest.fixture
def world(tmp_path: Path) -> World:
    workspace = tmp_path / "work"
    workspace.mkdir()
    (workspace / "app.py").write_text("old = 1\n")
    (workspace / "README").write_text("read me\n")
    return World(root=tmp_path, workspace=workspace)


@contextmanager
def asked(world: World, *, open_for_s: float = 60.0, **more: Any) -> Generator[Human]:
    here = Path(__file__).parent
    path = os.pathsep.join((str(here.parent), os.environ.get("PYTHONPATH", "")))
    options = {"open_for_s": open_for_s, **EDIT, **more.pop("options", {})}
    with at_terminal(
        [sys.executable, str(CHILD), str(world.root), json.dumps(options)],
        environ={"PYTHONPATH": path} | more.pop("environ", {}),
        **more,
    ) as human:
        yield human


def only_end(world: World) -> dict[str, Any]:
    """Return the decision of the only request, from its record and from the outcome's."""
    records = AuditReader(world.root / "state").find(Query(newest_first=False))
    ends: list[Any] = [one.body["decision"] for one in records if one.kind == "approval.decided"]
    outcomes: list[Any] = [one.body for one in records if one.kind == "call.outcome"]
    assert (len(ends), len(outcomes)) == (1, 1)
    assert outcomes[0]["decision"]["end"] == ends[0]["end"]
    assert world.verifies()
    return ends[0]


def test_a_yes_on_the_screen_commits_exactly_what_was_shown(world: World) -> None:
    with asked(world) as human:
        human.sees("old = 1", "new = 2", "README", "1 of 1")
        human.presses("a")
        code, out, _ = human.result()
    assert (code, json.loads(out)[0]["outcome"]) == (0, "committed")
    assert (world.workspace / "app.py").read_text() == "new = 2\n"
    assert not (world.workspace / "README").exists()
    end = only_end(world)
    assert (end["end"], end["approver"]) == ("approved", "tui")
    assert end["proof"] == f"controlling terminal, uid {os.getuid()}"


def test_a_no_with_its_reason_leaves_everything_as_it_was(world: World) -> None:
    before = fingerprint(world.workspace)
    with asked(world) as human:
        human.presses("r")
        human.sees("why not?")
        human.types("not today, naïve\r")
        _, out, _ = human.result()
    assert json.loads(out)[0]["outcome"] == "discarded"
    end = only_end(world)
    assert (end["end"], end["reason"]) == ("rejected", "not today, naïve")
    assert fingerprint(world.workspace) == before


def test_silence_expires(world: World) -> None:
    before = fingerprint(world.workspace)
    with asked(world, open_for_s=4.0) as human:
        human.sees("new = 2")
        human.result()
    assert only_end(world)["end"] == "expired"
    assert fingerprint(world.workspace) == before


def test_ctrl_c_fails_the_question_as_interrupted(world: World) -> None:
    before = fingerprint(world.workspace)
    with asked(world) as human:
        human.sees("new = 2")
        human.types("\x03")
        human.result()
    end = only_end(world)
    assert (end["end"], end["reason"]) == ("failed", "interrupted")
    assert fingerprint(world.workspace) == before


def test_a_closed_terminal_decides_nothing(world: World) -> None:
    before = fingerprint(world.workspace)
    with asked(world) as human:
        human.sees("new = 2")
        human.hangs_up()
        human.result()
    end = only_end(world)
    assert (end["end"], end["reason"]) == ("failed", "the terminal was closed")
    assert fingerprint(world.workspace) == before


def test_a_screen_that_fails_leaves_the_question_open_until_it_expires(world: World) -> None:
    before = fingerprint(world.workspace)
    with asked(world, open_for_s=2.5, options={"crashes": True}) as human:
        _, _, err = human.result()
    assert "the screen failed" in err
    assert only_end(world)["end"] == "expired"
    assert fingerprint(world.workspace) == before


def test_a_screen_that_is_left_leaves_the_question_open(world: World) -> None:
    before = fingerprint(world.workspace)
    with asked(world) as human:
        human.presses("q")
        human.sees("The run goes on without it")
        human.types("q")
        human.sees_left()
        human.watches(0.5)
        assert human.child.poll() is None
        assert "approval.decided" not in world.kinds()
        human.child.send_signal(signal.SIGTERM)
        human.result()
    assert only_end(world)["end"] == "failed"
    assert fingerprint(world.workspace) == before


def test_sigterm_ends_the_call_and_gives_the_terminal_back(world: World) -> None:
    before = fingerprint(world.workspace)
    with asked(world) as human:
        human.sees("new = 2")
        human.child.send_signal(signal.SIGTERM)
        _, out, _ = human.result()
    assert json.loads(out)[0]["outcome"] == "failed"
    assert only_end(world)["end"] == "failed"
    assert fingerprint(world.workspace) == before


def test_a_killed_session_leaves_the_workspace_and_is_recorded_by_the_next_one(
    world: World,
) -> None:
    before = fingerprint(world.workspace)
    with asked(world) as human:
        human.sees("new = 2")
        human.child.kill()
        human.result(restored=False)
    assert "call.outcome" not in world.kinds()

    async def next_session() -> None:
        async with world.session("deny"):
            pass

    anyio.run(next_session)
    records = AuditReader(world.root / "state").find(Query(kind="approval.decided"))
    decisions: list[Any] = [record.body["decision"] for record in records]
    assert [(one["end"], one["approver"]) for one in decisions] == [("expired", "nobody")]
    assert world.kinds().count("intent.unknown") == 1
    assert fingerprint(world.workspace) == before
    assert world.verifies()


def test_the_story_and_the_next_question_follow_an_answer(world: World) -> None:
    options = {"calls": ["edit", "true", "edit"]}
    with asked(world, options=options) as human:
        human.presses("r")
        human.sees("why not?")
        human.types("\r")
        human.sees("discarded (rejected)", "exit code 0 (the guest says), no effect", "1 of 1")
        human.presses("a")
        _, out, _ = human.result()
    ended = [one["outcome"] for one in json.loads(out)]
    assert ended == ["discarded", "executed", "committed"]
