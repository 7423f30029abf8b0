"""The real agent in real machines: how commands run and end, and what they cannot break."""

import hashlib
import os
import time
from pathlib import Path

import anyio
import pytest

from guestcalls import WORKSPACE, Machines, harvested, python, run, shell, whole
from luminaguard.domain.execution import Ended
from luminaguard.domain.harvest import UpperFile
from luminaguard.errors import GuestError
from luminaguard.vm.hypervisor import GuestMount

pytestmark = [pytest.mark.vm, pytest.mark.anyio]

ALLOWED_NAMES = {
    *("PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "TERM", "TMPDIR"),
    *("PWD", "OLDPWD", "_", "EXTRA"),
}

SLEEP_AND_TAIL = """
    sleep 1000 &
    (setsid tail -f /dev/null &)
    until grep -qx tail /proc/[0-9]*/comm 2>/dev/null; do sleep 0.05; done
    until grep -qx sleep "/proc/$!/comm"; do sleep 0.05; done
    echo hi
"""


# How commands run and end -------------------------------------------------------------------------


async def test_commands_end_as_they_ended_and_their_streams_arrive_apart(
    machines: Machines, tree: Path
) -> None:
    async with machines(tree) as machine:
        await machine.mount(GuestMount(path=WORKSPACE, filesystem="squashfs"))
        report = await run(machine, "sh", "-c", "echo out; echo err >&2; exit 3")
        assert (report.ended, report.exit_code) == (Ended.EXITED, 3)
        assert (report.stdout, report.stderr) == (b"out\n", b"err\n")

        report = await run(machine, "sh", "-c", "kill -SEGV $$")
        assert (report.ended, report.exit_code, report.signal) == (Ended.SIGNALED, 139, 11)

        report = await run(machine, "no-such-program")
        assert (report.ended, report.exit_code) == (Ended.NOT_STARTED, 127)
        assert b"no-such-program" in report.stderr
        report = await run(machine, "/etc/passwd")
        assert (report.ended, report.exit_code) == (Ended.NOT_STARTED, 126)
        report = await run(machine, "sh", "-c", "exit 127")
        assert (report.ended, report.exit_code) == (Ended.EXITED, 127)
        report = await run(machine, "true", cwd="/no/such/place")
        assert report.ended is Ended.NOT_STARTED
        assert b"/no/such/place" in report.stderr
        report = await run(machine, "./tool")
        assert report.stdout == b"tool\n"
        report = await run(machine, "echo", "a\0b")
        assert report.ended is Ended.NOT_STARTED


async def test_commands_get_their_input_directory_and_environment_and_nothing_of_the_host(
    machines: Machines, tree: Path
) -> None:
    async with machines(tree) as machine:
        await machine.mount(GuestMount(path=WORKSPACE, filesystem="squashfs"))
        content = os.urandom(1_500_000)
        report = await run(machine, "sha256sum", stdin=content)
        assert report.stdout.split()[0].decode() == hashlib.sha256(content).hexdigest()
        report = await run(machine, "true", stdin=content)  # reads none of it
        assert report.exit_code == 0
        report = await run(machine, "cat")
        assert report.stdout == b""

        report = await run(machine, "sh", "-c", "pwd; id -un; env", env={"EXTRA": "ü=1"})
        lines = report.stdout.decode().splitlines()
        assert lines[:2] == [WORKSPACE, "guest"]
        names = {line.partition("=")[0] for line in lines[2:]}
        assert "EXTRA=ü=1" in lines
        assert {name for name in names if not name.startswith("GIT_")} <= ALLOWED_NAMES


async def test_a_flood_of_output_arrives_bounded_and_counted(
    machines: Machines, tree: Path
) -> None:
    async with machines(tree) as machine:
        await machine.mount(GuestMount(path=WORKSPACE, filesystem="squashfs"))
        report = await run(
            machine, "head", "-c", "20000000", "/dev/zero", output_limit_bytes=100_000
        )
        assert len(report.stdout) == 100_000
        assert report.stdout_dropped_bytes == 19_900_000


async def test_a_timeout_kills_everything_including_what_left_the_session(
    machines: Machines, tree: Path
) -> None:
    async with machines(tree) as machine:
        await machine.mount(GuestMount(path=WORKSPACE, filesystem="squashfs"))
        script = """
            (setsid sh -c 'while :; do echo x >> escaped; sleep 0.05; done' &)
            setsid sleep 1000 &
            trap '' TERM INT HUP
            while :; do sleep 1; done
        """
        report = await run(machine, "sh", "-c", script, timeout_s=2)
        assert (report.ended, report.exit_code) == (Ended.TIMED_OUT, 124)
        assert report.duration_s < 8
        report = await shell(machine, "wc -c < escaped; ls /proc | grep -c '^[0-9]'")
        before = report.stdout.split()[0]
        assert int(before) > 0, "the writer never ran: the test would prove nothing"
        report = await shell(machine, "sleep 0.5; wc -c < escaped")
        assert report.stdout.split() == [before], report


async def test_what_a_command_left_behind_is_named_and_gone(machines: Machines, tree: Path) -> None:
    async with machines(tree) as machine:
        await machine.mount(GuestMount(path=WORKSPACE, filesystem="squashfs"))
        report = await shell(machine, SLEEP_AND_TAIL)
        assert report.stdout == b"hi\n"
        assert sorted(report.leftover) == ["sleep", "tail"]
        report = await shell(machine, "cat /proc/[0-9]*/comm")
        assert b"sleep" not in report.stdout
        assert b"tail" not in report.stdout
        report = await shell(machine, "yes | head -1")
        assert report.leftover == (), "a pipe that ends a moment later is nothing left behind"


async def test_cancelling_a_command_kills_it(machines: Machines, tree: Path) -> None:
    async with machines(tree) as machine:
        await machine.mount(GuestMount(path=WORKSPACE, filesystem="squashfs"))
        with anyio.move_on_after(1) as scope:
            await run(machine, "sh", "-c", "while :; do echo x >> going; sleep 0.05; done")
        assert scope.cancelled_caught
        first = (await shell(machine, "wc -c < going")).stdout
        second = (await shell(machine, "sleep 0.5; wc -c < going")).stdout
        assert int(first) > 0
        assert first == second


async def test_python_calls_run_as_a_program_in_a_fork_of_the_resident_interpreter(
    machines: Machines, tree: Path
) -> None:
    async with machines(tree) as machine:
        await machine.mount(GuestMount(path=WORKSPACE, filesystem="squashfs"))
        report = await python(
            machine, "import os, sys; print(os.getcwd(), os.getuid(), sys.path[0])"
        )
        assert report.stdout.decode().split(" ") == [WORKSPACE, "1000", "\n"], report

        report = await python(machine, "x = 1\ndef f():\n    return 1 / 0\nf()\n")
        assert report.exit_code == 1
        assert b"ZeroDivisionError" in report.stderr
        assert b"return 1 / 0" in report.stderr
        assert b"luminaguard" not in report.stderr

        report = await python(machine, "import sys; sys.exit(7)")
        assert (report.ended, report.exit_code) == (Ended.EXITED, 7)
        report = await python(machine, "raise SystemExit('no')")
        assert (report.exit_code, report.stderr) == (1, b"no\n")
        report = await python(machine, "def (")
        assert report.exit_code == 1
        assert b"SyntaxError" in report.stderr

        report = await python(machine, "leaked = 1\nimport json; json.dumps = None")
        report = await python(machine, "import json; print('leaked' in globals(), json.dumps(1))")
        assert report.stdout == b"False 1\n", "one call's changes reached the next"

        report = await python(machine, "open('made.txt', 'w').write('by python')\nwhile 1: pass",
                              timeout_s=1)  # fmt: skip
        assert report.ended is Ended.TIMED_OUT
        records, content = await harvested(machine)
        assert isinstance(records[b"made.txt"], UpperFile)
        assert whole(content[b"made.txt"], 9) == b"by python"

        report = await python(
            machine,
            "import atexit, threading, os\n"
            "atexit.register(print, 'at exit')\n"
            "threading.Thread(target=lambda: print('thread')).start()\n"
            "print(sorted(os.listdir('/proc/self/fd')), __name__)",
        )
        assert b"__main__" in report.stdout
        assert {b"thread", b"at exit"} <= set(report.stdout.splitlines())
        assert report.stdout.count(b"'") == 8, "the program inherited a descriptor of the agent"


# Where the workspace lies ------------------------------------------------------------------------


@pytest.mark.parametrize("filesystem", ["squashfs", "erofs"])
@pytest.mark.parametrize("path", ["/home/alice/project", "/tmp/pytest-x/ws", "/root/x", "/w"])
async def test_the_workspace_lies_at_the_same_path_as_on_the_host(
    machines: Machines, tree: Path, path: str, filesystem: str
) -> None:
    async with machines(tree, filesystem=filesystem) as machine:
        await machine.mount(GuestMount(path=path, filesystem=filesystem))
        report = await run(
            machine, "sh", "-c", "pwd; cat a.txt; echo x > new && rm a.txt && ls", cwd=path
        )
        assert report.stdout.decode().split() == [path, "hello", *["d1", "gone", "new", "tool"]]
        script = "cd; pwd; mktemp; mktemp -p /var/tmp; touch ~/x"
        report = await run(machine, "sh", "-c", script, cwd=path)
        assert report.exit_code == 0, report.stderr
        records, _ = await harvested(machine)
        assert set(records) == {b"", b"new", b"a.txt"}


@pytest.mark.parametrize(
    "path", ["/usr/x", "/etc", "/proc/1", "/", "/tmp", "/a/../b", "rel", "/a//b"]
)
async def test_a_workspace_cannot_cover_the_guests_own_places(
    machines: Machines, tree: Path, path: str
) -> None:
    async with machines(tree) as machine:
        with pytest.raises(GuestError, match=r"cannot be shown|not a normal"):
            await machine.mount(GuestMount(path=path, filesystem="squashfs"))


# What commands cannot break -----------------------------------------------------------------------


async def test_a_full_disk_is_the_commands_problem_only(machines: Machines, tree: Path) -> None:
    async with machines(tree, scratch_mib=24) as machine:
        await machine.mount(GuestMount(path=WORKSPACE, filesystem="squashfs"))
        report = await shell(machine, "cat /dev/zero > big; echo code $?; rm big; echo ok > small")
        assert b"No space left" in report.stderr
        report = await shell(machine, "i=0; while mkdir d$i 2>&-; do i=$((i+1)); done; echo $i")
        assert int(report.stdout) > 0
        records, _ = await harvested(machine)
        assert b"small" in records


async def test_a_fork_bomb_ends_with_its_command(machines: Machines, tree: Path) -> None:
    async with machines(tree) as machine:
        await machine.mount(GuestMount(path=WORKSPACE, filesystem="squashfs"))
        bomb = "import os\nwhile True:\n    try: os.fork()\n    except OSError: pass\n"
        report = await run(machine, "python3", "-c", bomb, timeout_s=4)
        assert report.ended is Ended.TIMED_OUT
        report = await shell(machine, "echo alive; ls -d /proc/[0-9]* | wc -l")
        assert report.stdout.split()[0] == b"alive"
        assert int(report.stdout.split()[1]) < 8
        records, _ = await harvested(machine)
        assert set(records) == {b""}


async def test_a_command_that_takes_all_memory_dies_alone(machines: Machines, tree: Path) -> None:
    async with machines(tree) as machine:
        await machine.mount(GuestMount(path=WORKSPACE, filesystem="squashfs"))
        hog = "import os\nheld = []\nwhile True: held.append(bytearray(b'x' * (1 << 24)))"
        report = await run(machine, "python3", "-c", hog)
        assert report.ended is Ended.SIGNALED
        assert report.signal == 9
        assert (await shell(machine, "echo alive")).stdout == b"alive\n"


async def test_a_command_line_of_a_megabyte_runs_or_is_refused_and_the_agent_lives(
    machines: Machines, tree: Path
) -> None:
    async with machines(tree) as machine:
        await machine.mount(GuestMount(path=WORKSPACE, filesystem="squashfs"))
        report = await run(machine, "sh", "-c", "echo $#", "sh", *["x" * 100_000] * 10)
        assert report.stdout == b"10\n"
        report = await run(machine, "echo", "x" * 1_000_000)
        assert report.ended is Ended.NOT_STARTED
        with pytest.raises(GuestError, match="does not fit"):
            await run(machine, "echo", "x" * 5_000_000)
        assert (await shell(machine, "echo alive")).stdout == b"alive\n"


@pytest.mark.guarantee("G6")
async def test_two_clones_never_give_the_same_random_bytes_uuids_or_names(
    machines: Machines, tree: Path
) -> None:
    code = (
        "import os, uuid, tempfile, random, secrets\n"
        "print(os.urandom(16).hex(), uuid.uuid4(), tempfile.mktemp(), random.random(),"
        " secrets.token_hex(), random.SystemRandom().random(),"
        " open('/proc/sys/kernel/random/uuid').read() if os.path.exists('/proc/sys') else '')"
    )
    seen: list[bytes] = []
    for _ in range(2):
        async with machines(tree) as machine:
            await machine.mount(GuestMount(path=WORKSPACE, filesystem="squashfs"))
            drawn = (await python(machine, code)).stdout
            drawn += (await shell(machine, "head -c 16 /dev/urandom | od -An -tx1; mktemp")).stdout
            drawn += (await run(machine, "python3", "-c", code)).stdout
            seen.append(drawn)
    first, second = (set(drawn.split()) for drawn in seen)
    same = {word for word in first & second if len(word) > 2}
    assert not same, f"both clones gave {same}"
    assert len(first) >= 12


async def test_the_clock_of_a_clone_is_the_hosts(machines: Machines, tree: Path) -> None:
    async with machines(tree) as machine:
        await machine.mount(GuestMount(path=WORKSPACE, filesystem="squashfs"))
        report = await shell(machine, "date +%s")
        assert abs(int(report.stdout) - time.time()) <= 5
