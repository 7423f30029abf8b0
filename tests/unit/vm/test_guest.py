"""Typed guest operations hold against a guest that lies, floods, stalls or goes away."""

from collections.abc import Iterable

import anyio
import pytest

from hostile import Said, hostile_guest
from luminaguard.domain import harvest
from luminaguard.domain.execution import Ended, Execution
from luminaguard.errors import GuestError, GuestLost, VmStateError, WireError
from luminaguard.vm.guest import GuestClient
from luminaguard.vm.hypervisor import GuestMount
from luminaguard_guest import wire

pytestmark = pytest.mark.anyio

RECORDS: list[harvest.UpperRecord] = [
    harvest.UpperDirectory(b"", 0o755, opaque=False, redirect=None),
    harvest.UpperDirectory(b"d", 0o700, opaque=True, redirect=b"/old"),
    harvest.UpperFile(b"d/f", 0o4755, 5, 123),
    harvest.FileBytes(0, b"hello"),
    harvest.UpperSymlink(b"l", b"../../etc"),
    harvest.Whiteout(b"../gone"),
    harvest.UpperSpecial(b"s", "socket"),
]


async def ready(client: GuestClient) -> None:
    await client.hello(5)
    await client.reseed(bytes(64), 1)


def finish(*said: Said) -> Iterable[Said]:
    return [*said, wire.Finished("exited", 0, 0, ())]


async def test_a_sound_guest_is_greeted_mounted_run_and_harvested() -> None:
    async with hostile_guest(records=RECORDS, stdout=b"out") as client:
        facts = await client.hello(5)
        await client.reseed(bytes(64), 1)
        await client.mount(GuestMount(path="/work/x", filesystem="squashfs"))
        await client.exercise()
        report = await client.execute(Execution(argv=("true",)))
        assert [record async for record in client.harvest()] == RECORDS
    assert facts.python == "3.11.2"
    assert (report.ended, report.exit_code, report.stdout) == (Ended.EXITED, 0, b"out")
    assert report.duration_s > 0


async def test_nothing_runs_in_a_guest_that_was_not_reseeded() -> None:
    async with hostile_guest() as client:
        await client.hello(5)
        with pytest.raises(VmStateError, match="reseeded"):
            await client.execute(Execution(argv=("true",)))


async def test_another_version_of_the_wire_is_refused() -> None:
    def old(request: wire.Message) -> list[Said] | None:
        if isinstance(request, wire.Hello):
            return [wire.Welcome(wire.VERSION + 1, request.nonce, "3", "6")]
        return None

    async with hostile_guest(answering=old) as client:
        with pytest.raises(WireError, match="version"):
            await client.hello(5)
        with pytest.raises(WireError):
            await client.ping()


async def test_an_answer_recorded_earlier_is_no_welcome() -> None:
    def replay(_: wire.Message) -> list[Said]:
        return [wire.Welcome(wire.VERSION, b"another nonce", "3", "6")]

    async with hostile_guest(answering=replay) as client:
        with pytest.raises(WireError):
            await client.hello(5)


async def test_a_guest_that_stays_silent_is_lost_in_time() -> None:
    async with hostile_guest(answering=lambda _: []) as client:
        with anyio.fail_after(5):
            with pytest.raises(GuestLost, match="within"):
                await client.hello(0.05)
            with pytest.raises(GuestLost):
                await client.ping()


async def test_a_failure_that_the_guest_tells_leaves_it_usable() -> None:
    def refuse(request: wire.Message) -> list[Said] | None:
        return [wire.Failed("no such disk")] if isinstance(request, wire.Mount) else None

    async with hostile_guest(answering=refuse) as client:
        await client.hello(5)
        with pytest.raises(GuestError, match="no such disk"):
            await client.mount(GuestMount(path="/work/x", filesystem="squashfs"))
        await client.ping()


async def test_output_beyond_the_limit_is_counted_and_not_kept() -> None:
    chunk = bytes(wire.CHUNK_BYTES)

    def flood(request: wire.Message) -> Iterable[Said] | None:
        if isinstance(request, wire.Execute):
            return finish(*[wire.Output(1, chunk), wire.Output(2, b"e")] * 100)
        return None

    async with hostile_guest(answering=flood) as client:
        await ready(client)
        report = await client.execute(Execution(argv=("yes",), output_limit_bytes=1000))
    assert len(report.stdout) == 1000
    assert report.stdout_dropped_bytes == 100 * wire.CHUNK_BYTES - 1000
    assert (report.stderr, report.stderr_dropped_bytes) == (b"e" * 100, 0)


async def test_a_command_that_the_guest_never_ends_loses_the_guest() -> None:
    def endless(request: wire.Message) -> list[Said] | None:
        return [] if isinstance(request, wire.Execute) else None

    async with hostile_guest(answering=endless, grace_s=0.1) as client:
        await ready(client)
        with anyio.fail_after(5), pytest.raises(GuestLost, match="did not end"):
            await client.execute(Execution(argv=("sleep", "9"), timeout_s=0.05))
        with pytest.raises(GuestLost):
            await client.ping()


async def test_cancelling_a_command_kills_it_in_the_guest_and_leaves_the_guest_usable() -> None:
    heard: list[wire.Message] = []

    def obedient(request: wire.Message) -> list[Said] | None:
        heard.append(request)
        match request:
            case wire.Execute():
                return [wire.Output(1, b"working")]
            case wire.Kill():
                return [wire.Output(1, b"dying"), wire.Finished("signaled", 0, 9, ())]
            case _:
                return None

    async with hostile_guest(answering=obedient) as client:
        await ready(client)
        with anyio.move_on_after(0.1) as scope:
            await client.execute(Execution(argv=("sleep", "9")))
        assert scope.cancelled_caught
        assert isinstance(heard[-1], wire.Kill)
        await client.ping()


async def test_standard_input_stays_within_the_window_and_arrives_whole() -> None:
    content = bytes(range(256)) * 8000  # 2 MB, well over the window
    taken = bytearray()
    unacknowledged = 0

    def cat(request: wire.Message) -> Iterable[Said] | None:
        nonlocal unacknowledged
        if isinstance(request, wire.Execute):
            return []
        if isinstance(request, wire.Stdin):
            taken.extend(request.content)
            unacknowledged += len(request.content)
            assert unacknowledged <= wire.STDIN_WINDOW_BYTES
            if request.last:
                return finish()
            if unacknowledged == wire.STDIN_WINDOW_BYTES:
                unacknowledged = 0
                return [wire.StdinTaken(wire.STDIN_WINDOW_BYTES)]
            return []
        return None

    async with hostile_guest(answering=cat) as client:
        await ready(client)
        with anyio.fail_after(5):
            await client.execute(Execution(argv=("cat",), stdin=content))
    assert bytes(taken) == content


@pytest.mark.parametrize(
    "said",
    [
        pytest.param([wire.StdinTaken(5)], id="input taken that was never sent"),
        pytest.param([wire.Done()], id="an answer to something else"),
        pytest.param([wire.Whiteout(b"x")], id="a harvest record"),
        pytest.param([b"\0" * 64], id="no frame"),
        pytest.param([wire.FROM_GUEST.encode(999, wire.Done())], id="another request's id"),
    ],
)
async def test_a_command_answered_with_an_oddity_ends_in_a_wire_error(said: list[Said]) -> None:
    def odd(request: wire.Message) -> list[Said] | None:
        return said if isinstance(request, wire.Execute) else None

    async with hostile_guest(answering=odd) as client:
        await ready(client)
        with anyio.fail_after(5), pytest.raises(WireError):
            await client.execute(Execution(argv=("true",)))
        with pytest.raises(WireError):
            await client.ping()


async def test_names_of_left_processes_are_bounded_and_decoded_safely() -> None:
    names = (b"\xff\x1b[31m", b"x" * 10_000, *[b"sleep"] * 500)

    def leave(request: wire.Message) -> list[Said] | None:
        if isinstance(request, wire.Execute):
            return [wire.Finished("exited", 0, 0, names)]
        return None

    async with hostile_guest(answering=leave) as client:
        await ready(client)
        report = await client.execute(Execution(argv=("true",)))
    assert len(report.leftover) == 64
    assert report.leftover[0] == "\\xff\x1b[31m"
    assert len(report.leftover[1]) == 64


@pytest.mark.parametrize(
    ("end", "ended", "code", "signal"),
    [
        (wire.Finished("exited", 3, 0, ()), Ended.EXITED, 3, None),
        (wire.Finished("signaled", 77, 9, ()), Ended.SIGNALED, 137, 9),
        (wire.Finished("timed-out", 0, 0, ()), Ended.TIMED_OUT, 124, None),
        (wire.Finished("not-started", 126, 0, ()), Ended.NOT_STARTED, 126, None),
    ],
)
async def test_exit_codes_follow_from_the_ending(
    end: wire.Finished, ended: Ended, code: int, signal: int | None
) -> None:
    def answer(request: wire.Message) -> list[Said] | None:
        return [end] if isinstance(request, wire.Execute) else None

    async with hostile_guest(answering=answer) as client:
        await ready(client)
        report = await client.execute(Execution(argv=("x",)))
    assert (report.ended, report.exit_code, report.signal) == (ended, code, signal)


@pytest.mark.parametrize("claimed", [0, 6, 8, -1])
async def test_a_harvest_that_was_cut_or_padded_is_refused(claimed: int) -> None:
    async with hostile_guest(records=RECORDS, claimed=claimed) as client:
        with pytest.raises(WireError, match="cut"):
            [record async for record in client.harvest()]


async def test_a_harvest_that_the_guest_gives_up_is_an_error_and_not_an_end() -> None:
    def fail(request: wire.Message) -> list[Said] | None:
        if isinstance(request, wire.Harvest):
            return [wire.Whiteout(b"a"), wire.Failed("deep")]
        return None

    async with hostile_guest(answering=fail) as client:
        with pytest.raises(GuestError, match="deep"):
            [record async for record in client.harvest()]
        await client.ping()


async def test_a_guest_that_goes_away_in_the_middle_of_a_harvest_is_lost() -> None:
    def stop(request: wire.Message) -> list[Said] | None:
        return [wire.Whiteout(b"a")] if isinstance(request, wire.Harvest) else None

    async with hostile_guest(answering=stop) as client:
        records = client.harvest()
        assert await anext(records) == harvest.Whiteout(b"a")
        client.close()
        with pytest.raises(GuestLost):
            await anext(records)


async def test_a_harvest_left_unread_leaves_no_channel_to_mix_up() -> None:
    async with hostile_guest(records=RECORDS) as client:
        records = client.harvest()
        await anext(records)
        with pytest.raises(VmStateError, match="busy"):
            await client.ping()
        await records.aclose()  # pyright: ignore[reportAttributeAccessIssue]
        with pytest.raises(GuestLost, match="unread"):
            await client.ping()


async def test_a_command_that_cannot_be_told_over_the_wire_is_refused() -> None:
    async with hostile_guest() as client:
        await ready(client)
        with pytest.raises(GuestError, match="cannot be run"):
            await client.execute(Execution())
        with pytest.raises(GuestError, match="does not fit"):
            await client.execute(Execution(argv=("x" * (wire.MAX_FRAME_BYTES + 1),)))
        await client.ping()
