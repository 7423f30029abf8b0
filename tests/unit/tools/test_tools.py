"""Each tool turns its arguments into one guest command, or says why it cannot."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from luminaguard.domain.calls import JsonValue, ToolCall
from luminaguard.errors import ToolError
from luminaguard.tools.commands import ExecTool
from luminaguard.tools.files import FILE_TOOLS
from luminaguard.tools.toolbox import Toolbox, agent_tools


def call(tool: str, **arguments: JsonValue) -> ToolCall:
    return ToolCall(call_id="c1", tool=tool, arguments=arguments)


EXEC = ExecTool(timeout_s=3.0, env={"A": "1"}, stdin=b"in")
BOX = Toolbox((*agent_tools(), EXEC))


def test_exec_runs_its_words_as_they_are() -> None:
    plan = BOX.plan(call("exec", argv=["a b", "$(c)"], **EXEC.bound_arguments()), "/ws")
    assert plan.argv == ("a b", "$(c)")
    assert (plan.cwd, plan.timeout_s, plan.env, plan.stdin) == ("/ws", 3.0, {"A": "1"}, b"in")


@pytest.mark.guarantee("G2")
def test_a_call_is_bound_to_the_variables_and_the_input_that_it_gets() -> None:
    bound = EXEC.bound_arguments()
    assert bound["env"] == ["A"]
    for wrong in ({}, {**bound, "env": ["B"]}, {**bound, "stdin_sha256": "0" * 64}):
        with pytest.raises(ToolError):
            BOX.plan(call("exec", argv=["a"], **wrong), "/ws")


def test_a_shell_line_reaches_bash_as_one_word() -> None:
    assert BOX.plan(call("shell", command="a; b"), "/ws").argv == ("/bin/bash", "-c", "a; b")


def test_python_code_goes_to_the_resident_interpreter() -> None:
    plan = BOX.plan(call("python", code="print(1)"), "/ws")
    assert (plan.python, plan.argv) == ("print(1)", ())


@pytest.mark.parametrize(
    "bad",
    [
        call("rm"),
        call("exec"),
        call("exec", argv=[]),
        call("exec", argv="ls"),
        call("exec", argv=["ls", 3]),
        call("exec", argv=["a\0b"]),
        call("shell"),
        call("shell", command=3),
        call("shell", command="a\0b"),
        call("shell", command="a", cwd="/"),
        call("write_file", path="a"),
        call("delete_file", path="a", force=True),
    ],
)
def test_arguments_that_do_not_fit_are_refused(bad: ToolCall) -> None:
    with pytest.raises(ToolError):
        BOX.plan(bad, "/ws")


def test_every_tool_describes_all_its_arguments() -> None:
    for spec in Toolbox(agent_tools()).specs:
        properties = spec.parameters["properties"]
        assert isinstance(properties, dict)
        assert spec.parameters["required"] == list(properties)
        assert spec.parameters["additionalProperties"] is False


def run(tool: str, directory: Path, **arguments: JsonValue) -> subprocess.CompletedProcess[str]:
    """Run a file tool's program here, in a directory of the test's own."""
    plan = Toolbox(FILE_TOOLS).plan(call(tool, **arguments), str(directory))
    assert plan.python is not None
    return subprocess.run(
        [sys.executable, "-c", plan.python],
        input=plan.stdin.decode(),
        cwd=directory,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
        env={"PATH": os.environ["PATH"]},
    )


def test_files_can_be_written_read_edited_and_deleted(tmp_path: Path) -> None:
    assert run("write_file", tmp_path, path="a/b.txt", content="one\r\ntwo\n").returncode == 0
    assert (tmp_path / "a/b.txt").read_bytes() == b"one\r\ntwo\n"
    assert run("edit_file", tmp_path, path="a/b.txt", old="two", new="2").returncode == 0
    assert (tmp_path / "a/b.txt").read_bytes() == b"one\r\n2\n"
    assert run("delete_file", tmp_path, path="a/b.txt").returncode == 0
    assert not (tmp_path / "a/b.txt").exists()


def test_an_edit_needs_exactly_one_place(tmp_path: Path) -> None:
    (tmp_path / "f").write_text("aa")
    for old in ("a", "b", ""):
        done = run("edit_file", tmp_path, path="f", old=old, new="x")
        assert done.returncode == 1
        assert "not once" in done.stderr
    assert (tmp_path / "f").read_text() == "aa"


def test_listing_and_searching_skip_git_and_are_sorted(tmp_path: Path) -> None:
    for name in ("b.txt", "a/c.txt", ".git/config"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(f"find me in {name}\n")
    assert run("list_files", tmp_path, path=".").stdout == "b.txt\na/c.txt\n"
    found = run("search_files", tmp_path, pattern="find m.", path=".").stdout
    assert found == "b.txt:1:find me in b.txt\na/c.txt:1:find me in a/c.txt\n"


@pytest.mark.parametrize("tool", ["read_file", "list_files", "delete_file"])
def test_a_missing_path_is_an_error_in_one_line(tmp_path: Path, tool: str) -> None:
    done = run(tool, tmp_path, path="missing")
    assert done.returncode == 1
    assert done.stderr == "missing: No such file or directory\n"


def test_a_file_that_is_not_text_is_said_to_be_so(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"\xff\xfe\x00")
    assert "not text" in run("read_file", tmp_path, path="f").stderr


def test_arguments_travel_as_data_and_never_as_code() -> None:
    plan = Toolbox(FILE_TOOLS).plan(call("read_file", path='"); import os #'), "/ws")
    assert plan.python is not None
    assert "import os #" not in plan.python
    assert json.loads(plan.stdin) == {"path": '"); import os #'}
