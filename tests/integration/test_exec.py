"""`luminaguard exec` as a user runs it: real machines, real commits, the real command line."""

import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from commandline import WAIT_S, CommandLine
from luminaguard.config import load
from luminaguard.image.image import GuestImage
from trees import fingerprint

pytestmark = pytest.mark.vm

EDIT = "printf two > src/a.txt; rm gone.txt; mkdir made; printf x > made/new.txt; chmod +x run.sh"


@pytest.fixture
def user(tmp_path: Path, guest_image: GuestImage) -> CommandLine:
    """A user with a small project; machines come from the image and template of this run."""
    workspace = tmp_path / "project"
    (workspace / "src").mkdir(parents=True)
    (workspace / "src/a.txt").write_text("one\n")
    (workspace / "gone.txt").write_text("I go\n")
    (workspace / "run.sh").write_text("#!/bin/sh\n")
    return CommandLine(home=tmp_path / "home", workspace=workspace, cache=load().cache_dir)


def until(condition: Callable[[], object], limit_s: float = 60.0) -> None:
    """Wait for a condition, polling; fail when it does not come true in time."""
    deadline = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


def machines_of(process: subprocess.Popen[bytes]) -> list[int]:
    """Return the process ids of QEMU below a process, whatever namespaces are between."""
    children: dict[int, list[int]] = {}
    names: dict[int, str] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                text = (entry / "stat").read_text()
            except OSError:
                continue
            name, _, rest = text.partition("(")[2].rpartition(")")
            children.setdefault(int(rest.split()[1]), []).append(int(entry.name))
            names[int(entry.name)] = name
    found: list[int] = []
    queue = [process.pid]
    while queue:
        pid = queue.pop()
        queue += children.get(pid, [])
        if names.get(pid, "").startswith("qemu"):
            found.append(pid)
    return found


def test_a_command_without_effect_runs_unasked_with_its_own_exit_code(user: CommandLine) -> None:
    code, done, _ = user.exec(["sh", "-c", "echo out; echo err >&2; exit 7"])
    assert code == 7
    assert (done["outcome"], done["exit_code"]) == ("executed", 7)
    assert (done["stdout"], done["stderr"]) == ("out\n", "err\n")
    assert done["decision"] is None
    assert done["changeset"]["changes"] == []


def test_the_json_has_the_documented_keys(user: CommandLine) -> None:
    _, done, _ = user.approve_all(["sh", "-c", EDIT])
    assert {
        "outcome",
        "exit_code",
        "stdout",
        "stderr",
        "verdict",
        "decision",
        "changeset",
        "vm",
        "timings",
        "audit",
    } <= set(done)
    assert set(done["verdict"]) == {"lane", "risk", "rules", "reasons"}
    assert {"end", "approver", "reason", "at"} <= set(done["decision"])
    assert {"digest", "changes", "scratch"} <= set(done["changeset"])
    assert {"backend", "tier", "jail", "spawn_ms"} <= set(done["vm"])
    assert all(name.endswith("_ms") for name in done["timings"])
    assert set(done["audit"]) == {"seq", "hash"}
    assert all({"path", "kind"} <= set(change) for change in done["changeset"]["changes"])


@pytest.mark.guarantee("G2")
def test_an_approved_effect_is_committed_exactly(user: CommandLine) -> None:
    code, done, err = user.approve_all(["sh", "-c", EDIT])
    assert (code, done["outcome"], done["decision"]["approver"]) == (0, "committed", "all")
    assert "WARNING" in err
    kinds = {change["path"]: change["kind"] for change in done["changeset"]["changes"]}
    assert kinds == {
        "src/a.txt": "modify",
        "gone.txt": "delete",
        "made": "mkdir",
        "made/new.txt": "create",
        "run.sh": "chmod",
    }
    assert (user.workspace / "src/a.txt").read_text() == "two"
    assert not (user.workspace / "gone.txt").exists()
    assert (user.workspace / "made/new.txt").read_text() == "x"
    assert os.access(user.workspace / "run.sh", os.X_OK)
    assert user.audit_verifies()


@pytest.mark.guarantee("G1")
def test_a_denied_effect_leaves_the_tree_bit_identical_and_shows_no_output(
    user: CommandLine,
) -> None:
    before = fingerprint(user.workspace)
    code, done, err = user.exec(["sh", "-c", f"{EDIT}; echo private"], "--approver", "deny")
    assert (code, done["outcome"], done["decision"]["end"]) == (126, "discarded", "rejected")
    assert done["stdout"] == ""
    assert "private" not in err
    assert fingerprint(user.workspace) == before
    assert user.audit_verifies()


@pytest.mark.guarantee("G1")
def test_approving_everything_needs_the_users_explicit_permission(user: CommandLine) -> None:
    before = fingerprint(user.workspace)
    command = ("exec", "-w", str(user.workspace), "--approver", "all", "--", "sh", "-c", EDIT)
    done = user.run(*command)
    assert done.returncode == 125
    assert "LUMINAGUARD_ALLOW_UNATTENDED" in done.stderr
    assert fingerprint(user.workspace) == before


@pytest.mark.guarantee("G4")
def test_a_command_that_runs_too_long_is_killed_with_its_children(user: CommandLine) -> None:
    before = fingerprint(user.workspace)
    command = ["sh", "-c", f"{EDIT}; setsid sleep 1000 & sleep 1000"]
    code, done, _ = user.exec(command, "--timeout", "2", "--approver", "deny")
    assert (code, done["outcome"], done["error"]["code"]) == (124, "failed", "timeout")
    assert done["decision"]["end"] == "failed"
    assert fingerprint(user.workspace) == before
    assert user.audit_verifies()


@pytest.mark.guarantee("G4")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_leaves_the_tree_bit_identical_and_no_machine(
    user: CommandLine, number: signal.Signals
) -> None:
    before = fingerprint(user.workspace)
    command = ("exec", "-w", str(user.workspace), "--json", "--", "sh", "-c", f"{EDIT}; sleep 99")
    process = user.start(*command)
    try:
        until(lambda: machines_of(process))
        machines = machines_of(process)
        process.send_signal(number)
        out, _ = process.communicate(timeout=WAIT_S)
    finally:
        process.kill()
    assert process.returncode == 125
    assert b'"outcome": "failed"' in out
    until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in machines))
    assert fingerprint(user.workspace) == before
    assert user.audit_verifies()


@pytest.mark.guarantee("G4")
def test_a_killed_machine_leaves_the_tree_bit_identical(user: CommandLine) -> None:
    before = fingerprint(user.workspace)
    command = ("exec", "-w", str(user.workspace), "--json", "--", "sh", "-c", f"{EDIT}; sleep 99")
    process = user.start(*command)
    try:
        until(lambda: machines_of(process))
        for pid in machines_of(process):
            os.kill(pid, signal.SIGKILL)
        out, _ = process.communicate(timeout=WAIT_S)
    finally:
        process.kill()
    assert process.returncode == 125
    assert b'"outcome": "failed"' in out
    assert fingerprint(user.workspace) == before
    assert user.audit_verifies()


@pytest.mark.guarantee("G7")
def test_after_kill_9_nothing_runs_on_and_the_open_call_is_closed_as_unknown(
    user: CommandLine,
) -> None:
    before = fingerprint(user.workspace)
    command = ("exec", "-w", str(user.workspace), "--json", "--", "sh", "-c", f"{EDIT}; sleep 99")
    process = user.start(*command)
    # The machine is there before its call is: it starts beside the imports.
    until(lambda: "call.proposed" in user.run("audit", "list", "--kind", "call.proposed").stdout)
    until(lambda: machines_of(process))
    machines = machines_of(process)
    process.kill()
    process.communicate(timeout=WAIT_S)
    until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in machines))
    assert fingerprint(user.workspace) == before
    user.exec(["true"])
    listed = user.run("audit", "list", "--kind", "intent.unknown").stdout
    assert "intent.unknown" in listed
    assert user.audit_verifies()


@pytest.mark.guarantee("G4")
def test_a_flood_of_output_is_counted_and_not_kept(user: CommandLine) -> None:
    code, done, err = user.exec(["sh", "-c", "head -c 30000000 /dev/zero | tr '\\0' x"])
    assert code == 0
    assert len(done["stdout"]) <= 8 * 1024 * 1024
    done_plain = user.run(
        "exec", "-w", str(user.workspace), "--", "head", "-c", "9000000", "/dev/zero"
    )
    assert "further bytes of stdout were not kept" in done_plain.stderr
    assert err == ""


@pytest.mark.guarantee("G4")
def test_a_full_scratch_disk_is_the_commands_problem_and_nobody_elses(user: CommandLine) -> None:
    config = user.home / "config" / "config.toml"
    config.parent.mkdir(parents=True)
    config.write_text("[vm]\nscratch_mib = 32\n")
    before = fingerprint(user.workspace)
    _, done, _ = user.exec(["sh", "-c", "cat /dev/zero > big; echo $?; rm big"])
    assert "No space left" in done["stderr"]
    assert done["outcome"] == "executed"
    assert fingerprint(user.workspace) == before


@pytest.mark.guarantee("G10")
def test_the_guest_sees_neither_the_hosts_environment_nor_its_secrets(user: CommandLine) -> None:
    (user.workspace / ".env").write_text("TOKEN=workspace-secret\n")
    (user.workspace / "id_rsa").write_text("workspace-secret\n")
    (user.home / ".ssh").mkdir(parents=True)
    (user.home / ".ssh/id_ed25519").write_text("home-secret")
    look = f"env; ls -a; cat .env id_rsa; cat {user.home}/.ssh/* /root/.ssh/*; ls /sys /dev/vda"
    _, done, _ = user.exec(["sh", "-c", look], MY_TOKEN="environment-secret")
    seen = done["stdout"] + done["stderr"]
    assert "secret" not in seen
    assert "MY_TOKEN" not in seen
    assert "id_rsa" not in done["stdout"]


def test_a_named_variable_is_passed_and_a_missing_one_is_an_error(user: CommandLine) -> None:
    told = 'test "$GREETING" = hello && echo hello'  # to show a variable needs a release
    _, done, _ = user.exec(["sh", "-c", told], "--env", "GREETING", GREETING="hello")
    assert done["stdout"] == "hello\n"
    missing = user.run("exec", "-w", str(user.workspace), "--env", "NOT_THERE", "--", "true")
    assert missing.returncode == 125
    assert "NOT_THERE" in missing.stderr


@pytest.mark.guarantee("G10")
def test_a_left_out_file_in_a_deleted_directory_is_never_lost(user: CommandLine) -> None:
    (user.workspace / "src/.env").write_text("TOKEN=1\n")
    before = fingerprint(user.workspace)
    code, done, _ = user.approve_all(["rm", "-rf", "src"])
    assert (code, done["outcome"], done["error"]["code"]) == (125, "failed", "conflict")
    assert fingerprint(user.workspace) == before


@pytest.mark.guarantee("G6")
def test_two_machines_never_draw_the_same_random_bytes(user: CommandLine) -> None:
    draw = (
        "head -c 16 /dev/urandom | od -An -tx1; mktemp -u;"
        "python3 -c 'import random, uuid; print(random.random(), uuid.uuid4())'"
    )
    drawn = [user.exec(["sh", "-c", draw])[1]["stdout"].splitlines() for _ in range(2)]
    assert len(drawn[0]) == len(drawn[1]) == 3
    assert all(drawn[0])
    assert not set(drawn[0]) & set(drawn[1])


def test_the_clock_of_the_guest_is_that_of_the_host(user: CommandLine) -> None:
    _, done, _ = user.exec(["date", "+%s"])
    assert abs(int(done["stdout"]) - time.time()) < 30


@pytest.mark.parametrize("place", ["/", "/usr", "/etc", "missing"])
def test_a_tree_that_may_be_no_workspace_is_refused(user: CommandLine, place: str) -> None:
    refused = user.run("exec", "-w", place, "--", "true")
    assert refused.returncode == 125
    assert "luminaguard:" in refused.stderr


def test_a_rename_of_a_directory_is_committed_as_what_it_is(user: CommandLine) -> None:
    code, done, _ = user.approve_all(["mv", "src", "lib"])
    assert (code, done["outcome"]) == (0, "committed")
    assert (user.workspace / "lib/a.txt").read_text() == "one\n"
    assert not (user.workspace / "src").exists()


def test_git_works_in_the_guest_and_its_commit_arrives(user: CommandLine) -> None:
    git = ["git", "-C", str(user.workspace), "-c", "user.name=U", "-c", "user.email=u@e"]
    subprocess.run([*git, "init", "-q"], check=True)
    subprocess.run([*git, "add", "."], check=True)
    subprocess.run([*git, "commit", "-qm", "first"], check=True)
    user.home.mkdir()
    (user.home / ".gitconfig").write_text("[user]\nname = Ada\nemail = ada@example.com\n")
    make = "git mv gone.txt kept.txt && git commit -qm second && git log --format=%an,%s"
    code, done, err = user.approve_all(["sh", "-c", make])
    assert (code, done["outcome"]) == (0, "committed"), (done, err)
    assert done["stdout"].startswith("Ada,second\nU,first")
    logged = subprocess.run([*git, "log", "--format=%s"], check=True, capture_output=True)
    assert logged.stdout == b"second\nfirst\n"
    fsck = subprocess.run([*git, "fsck", "--strict"], check=False, capture_output=True)
    assert fsck.returncode == 0
    status = subprocess.run([*git, "status", "--short"], check=True, capture_output=True)
    assert status.stdout == b""


def test_run_lets_the_scripted_model_work_and_says_that_it_is_scripted(user: CommandLine) -> None:
    done = user.run(
        "run", "look around", "-w", str(user.workspace), "--approver", "deny", "--model", "scripted"
    )
    assert done.returncode == 0
    assert "scripted model" in done.stderr
