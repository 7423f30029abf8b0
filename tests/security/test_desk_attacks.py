"""Attacks on the socket through which other processes decide, and on those who look for it."""

import json
import os
import socket
import struct
import subprocess
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import anyio
import pytest
from anyio import to_thread

from desks import OpenDesk, asking_desk, known_secret, numbered_card
from luminaguard.approval.codec.card import card_to_wire
from luminaguard.approval.desk import client, place, server
from luminaguard.approval.desk.client import Identity, RemoteDesk, find_desks
from luminaguard.approval.desk.desk import UNSEEN, Answer
from luminaguard.approval.desk.refusals import DeskLost
from luminaguard.domain.approval import End
from luminaguard.errors import ApprovalError

pytestmark = pytest.mark.anyio

ONE = numbered_card(1)
DIGEST = ONE.request.digest
YES = Answer(end=End.APPROVED)
WAIT_S = 10.0
NOBODY = 65534


def frame(content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + content


def question(**fields: object) -> bytes:
    return frame(json.dumps({"v": 1, **fields}).encode())


def raw(path: Path) -> socket.socket:
    """Connect as any program could."""
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(WAIT_S)
    fd = os.open(path.parent, os.O_RDONLY)
    try:
        connection.connect(f"/proc/self/fd/{fd}/{path.name}")
    finally:
        os.close(fd)
    return connection


def said_to(path: Path, content: bytes) -> bytes:
    """Send bytes, close that direction, and return everything that comes back."""
    with raw(path) as connection:
        try:
            connection.sendall(content)
            connection.shutdown(socket.SHUT_WR)
            return b"".join(iter(lambda: connection.recv(1 << 16), b""))
        except (ConnectionResetError, BrokenPipeError):
            return b""


async def still_works(desk: OpenDesk) -> None:
    """Assert that nothing was decided, and that the user can."""
    assert desk.end_of(ONE) is None
    screen, pending = await desk.seen(known_secret()[1])
    assert [item.card for item in pending] == [ONE]
    assert (await screen.answer(DIGEST, YES)).end is End.APPROVED


HOSTILE = {
    "nothing": b"",
    "half a length": b"\x00\x00",
    "half a frame": frame(b'{"v":1,"op":"look"}')[:-3],
    "4 GiB announced": b"\xff\xff\xff\xff" + b"x" * 100,
    "64 KiB and one byte": frame(b" " * ((1 << 16) + 1)),
    "an empty frame": frame(b""),
    "not JSON": frame(b"\xff\xfe\x00approve"),
    "no object": frame(b"[1,2,3]"),
    "deep nesting": frame(b"[" * 60_000),
    "another version": frame(b'{"v":2,"op":"look"}'),
    "no version": frame(b'{"op":"look"}'),
    "a huge number": frame(b'{"v":' + b"9" * 5_000 + b"}"),
    "no operation": question(),
    "an unknown operation": question(op="obey"),
    "an operation that is no word": question(op=["answer"]),
    "look without version": question(op="look", wait_s=1),
    "look for ever": question(op="look", seen=-1, wait_s=1e300),
    "look for NaN": frame(b'{"v":1,"op":"look","seen":-1,"wait_s":NaN}'),
    "a card of a path": question(op="card", digest="../../etc/passwd"),
    "a card of nothing": question(op="card", digest="0" * 64),
    "yes to everything": question(op="answer", digest="*", end="approved", reason="", grant=""),
    "yes without proof": question(op="answer", digest=DIGEST, end="approved", reason="", grant=""),
    "yes with a proof unasked": question(
        op="answer", digest=DIGEST, end="approved", reason="", grant="", signature="00" * 64
    )
    + frame(b'{"v":1,"signature":"' + b"00" * 64 + b'"}'),
    "yes signed with nonsense": question(
        op="answer", digest=DIGEST, end="approved", reason="", grant=""
    )
    + frame(b'{"v":1,"signature":"zz"}'),
    "expired": question(op="answer", digest=DIGEST, end="expired", reason="", grant=""),
    "failed": question(op="answer", digest=DIGEST, end="failed", reason="", grant=""),
    "a no that remembers": question(
        op="answer", digest=DIGEST, end="rejected", reason="", grant="all"
    ),
    "a long reason": question(
        op="answer", digest=DIGEST, end="rejected", reason="x" * 2_001, grant=""
    ),
    "a reason that is no text": question(
        op="answer", digest=DIGEST, end="rejected", reason={"a": 1}, grant=""
    ),
}


@pytest.mark.guarantee("G1")
@pytest.mark.guarantee("G4")
async def test_nothing_is_decided_by_a_malformed_message(tmp_path: Path) -> None:
    async with asking_desk(tmp_path, ONE) as desk:
        for name, content in HOSTILE.items():
            reply = await to_thread.run_sync(said_to, desk.socket, content)
            assert b'"decision"' not in reply, name
            assert desk.end_of(ONE) is None, name
        await still_works(desk)


async def test_a_message_that_is_too_long_is_refused_before_it_is_read(tmp_path: Path) -> None:
    async with asking_desk(tmp_path, ONE) as desk:
        for announced in (b"\xff\xff\xff\xff", struct.pack(">I", (1 << 16) + 1)):
            with raw(desk.socket) as connection:
                connection.sendall(announced)
                connection.settimeout(server.QUESTION_S / 2)
                reply = await to_thread.run_sync(connection.recv, 1 << 16)
                assert b"too long" in reply


@pytest.mark.guarantee("G4")
async def test_a_flood_of_silent_connections_does_not_keep_the_user_out(tmp_path: Path) -> None:
    held: list[socket.socket] = []
    try:
        async with asking_desk(tmp_path, ONE) as desk:
            while len(held) < 5 * server.MOST_CONNECTIONS:
                held += [await to_thread.run_sync(raw, desk.socket)]
            await still_works(desk)
    finally:
        for connection in held:
            connection.close()


async def test_a_reader_that_does_not_read_holds_up_nobody(tmp_path: Path) -> None:
    big = replace(ONE, prose="x" * (8 << 20))
    async with asking_desk(tmp_path, big) as desk:
        with raw(desk.socket) as lazy:
            lazy.sendall(question(op="card", digest=DIGEST))
            screen, pending = await desk.seen(known_secret()[1])
            assert len(pending[0].card.prose) == 8 << 20
            assert (await screen.answer(DIGEST, YES)).end is End.APPROVED


KNOCK = """
import os, socket, sys
os.setgroups([]); os.setgid({uid}); os.setuid({uid})
knocking = socket.socket(socket.AF_UNIX)
try:
    knocking.connect(sys.argv[1])
except OSError as error:
    print(type(error).__name__)
else:
    try:
        knocking.sendall(bytes.fromhex(sys.argv[2]))
        print("answered" if knocking.recv(1 << 16) else "closed")
    except OSError:
        print("closed")
"""


def knock(path: Path, content: bytes) -> str:
    """Connect as another user, and say what happened."""
    ran = subprocess.run(
        [sys.executable, "-c", KNOCK.format(uid=NOBODY), str(path), content.hex()],
        capture_output=True,
        text=True,
        timeout=WAIT_S,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout.strip()


@pytest.fixture
def open_place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory on a path that is short and that every user may walk."""
    found = tmp_path_factory.mktemp("d")
    for above in (found, *found.parents):
        if above.owner() == "root" and above.name and not above.stat().st_mode & 0o001:
            above.chmod(above.stat().st_mode | 0o011)
    return found


@pytest.mark.root
@pytest.mark.guarantee("G1")
async def test_another_user_cannot_reach_the_socket(open_place: Path) -> None:
    async with asking_desk(open_place / "run", ONE) as desk:
        no = question(op="answer", digest=DIGEST, end="rejected", reason="", grant="")
        assert await to_thread.run_sync(knock, desk.socket, no) == "PermissionError"
        await still_works(desk)


@pytest.mark.root
@pytest.mark.guarantee("G1")
async def test_another_user_is_refused_even_where_modes_let_them_in(open_place: Path) -> None:
    async with asking_desk(open_place / "run", ONE) as desk:
        desk.socket.chmod(0o666)
        for walkable in (open_place / "run", desk.socket.parent):
            walkable.chmod(0o755)
        no = question(op="answer", digest=DIGEST, end="rejected", reason="", grant="")
        look = question(op="look", seen=-1, wait_s=0)
        for content in (no, look):
            assert await to_thread.run_sync(knock, desk.socket, content) == "closed"
        for walkable in (open_place / "run", desk.socket.parent):
            walkable.chmod(0o700)
        await still_works(desk)


@pytest.mark.guarantee("G1")
@pytest.mark.parametrize("mode", [0o755, 0o770, 0o701])
async def test_a_directory_that_others_can_enter_holds_no_desk(tmp_path: Path, mode: int) -> None:
    desks = tmp_path / "desks"
    desks.mkdir()
    desks.chmod(mode)
    with pytest.raises(ApprovalError, match="only you can enter"):
        async with asking_desk(tmp_path, ONE):
            pass
    with pytest.raises(ApprovalError, match="only you can enter"):
        find_desks(tmp_path)


@pytest.mark.guarantee("G1")
async def test_a_symlinked_directory_holds_no_desk(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    (tmp_path / "desks").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ApprovalError, match="only you can enter"):
        async with asking_desk(tmp_path, ONE):
            pass
    with pytest.raises(ApprovalError, match="only you can enter"):
        find_desks(tmp_path)
    assert list((tmp_path / "elsewhere").iterdir()) == []


@pytest.mark.root
@pytest.mark.guarantee("G1")
async def test_a_directory_of_another_user_holds_no_desk(tmp_path: Path) -> None:
    (tmp_path / "desks").mkdir(mode=0o700)
    os.chown(tmp_path / "desks", NOBODY, NOBODY)
    with pytest.raises(ApprovalError, match="only you can enter"):
        find_desks(tmp_path)


async def test_what_dead_processes_left_is_swept_and_nothing_else(tmp_path: Path) -> None:
    async with asking_desk(tmp_path, ONE) as desk:
        beside = desk.socket.parent
        dead = [beside / "4000000-00000001.sock", beside / "4000001-00000002.sock"]
        for path in dead:
            with socket.socket(socket.AF_UNIX) as left:
                fd = os.open(beside, os.O_RDONLY)
                left.bind(f"/proc/self/fd/{fd}/{path.name}")
                os.close(fd)
        (beside / "notes.txt").write_text("not a socket")
        (beside / "12-0000000a.sock").write_text("only named like one")
        (beside / "13-0000000b.sock").symlink_to(desk.socket)
        assert [found.name for found in find_desks(tmp_path)] == [desk.socket.name]
        assert sorted(path.name for path in beside.iterdir()) == sorted(
            [desk.socket.name, "notes.txt", "12-0000000a.sock", "13-0000000b.sock"]
        )
        await still_works(desk)
    assert not desk.socket.exists()


async def test_a_path_longer_than_a_sockets_address_is_no_obstacle(tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 120) / ("e" * 120)
    async with asking_desk(deep, ONE) as desk:
        await still_works(desk)


@asynccontextmanager
async def hostile_desk(runtime_dir: Path, replies: list[bytes]) -> AsyncGenerator[RemoteDesk]:
    """Stand in for a desk; take these bytes, one reply for each connection, then hang up."""
    with place.opened(runtime_dir, make=True) as desks:
        assert desks is not None
        listener, name = desks.listen()

        async def serve() -> None:
            while True:
                await anyio.wait_readable(listener)
                connection, _ = listener.accept()
                with connection:
                    connection.settimeout(WAIT_S)
                    content = replies.pop(0) if replies else b""
                    await to_thread.run_sync(converse, connection, content)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(serve)
            with anyio.fail_after(WAIT_S):
                yield RemoteDesk(
                    runtime_dir=runtime_dir, name=name, identity=Identity(known_secret()[1])
                )
            tasks.cancel_scope.cancel()
        listener.close()


def converse(connection: socket.socket, content: bytes) -> None:
    connection.recv(1 << 16)
    connection.sendall(content)


def looks(**line: object) -> bytes:
    fields = {"digest": DIGEST, "origin": "x", "opened_at": "2026-11-21T12:00:00+00:00", **line}
    return question(version=1, approver="queue", open=[fields])


WHOLE = card_to_wire(ONE)
OTHER = card_to_wire(numbered_card(2))


@pytest.mark.guarantee("G2")
@pytest.mark.parametrize(
    "replies",
    [
        (frame(b"nonsense"),),
        (b"\xff\xff\xff\xff",),
        (question(version=-5, approver="queue", open=[]),),
        (question(version=1, approver="queue", open="all"),),
        (looks(digest="short"),),
        (looks(opened_at="yesterday"),),
        (question(error={"code": "approval-decided", "message": 3, "hint": None}),),
        (question(error={"code": "made-up", "message": "m", "hint": None}),),
        (looks(), question(bytes=1 << 40)),
        (looks(), question(bytes=10) + frame(b"x" * 11)),
        (looks(), question(bytes=len(OTHER)) + frame(OTHER)),
        (looks(), question(bytes=len(WHOLE)) + frame(WHOLE)[:-1]),
        (looks(), question(bytes=2) + frame(b"{}")),
    ],
)
async def test_a_screen_believes_no_desk_that_breaks_the_form(
    tmp_path: Path, replies: tuple[bytes, ...]
) -> None:
    async with hostile_desk(tmp_path, list(replies)) as desk:
        with pytest.raises(ApprovalError):
            await desk.wait_for_change(UNSEEN)
        assert desk.pending() == ()


DECISION = {
    "end": "approved",
    "approver": "queue",
    "reason": "",
    "at": "2026-11-21T12:00:00+00:00",
    "proof": "",
    "grant": "",
    "request_digest": DIGEST,
}


@pytest.mark.guarantee("G4")
@pytest.mark.parametrize(
    "reply",
    [
        b"",
        question(challenge="c" * 32),
        question(decision={**DECISION, "request_digest": "0" * 64}),
        question(decision={**DECISION, "end": "rejected"}),
        question(decision="approved"),
    ],
)
async def test_a_screen_never_says_decided_when_the_desk_did_not(
    tmp_path: Path, reply: bytes
) -> None:
    async with hostile_desk(tmp_path, [reply]) as desk:
        with pytest.raises(ApprovalError):
            await desk.answer(DIGEST, YES)


async def test_a_desk_that_answers_at_once_is_not_asked_without_pause(tmp_path: Path) -> None:
    nothing_new = question(version=7, approver="queue", open=[])
    given = [nothing_new] * 1_000
    async with hostile_desk(tmp_path, given) as desk:
        with anyio.move_on_after(client.UNCHANGED_S * 1.5):
            await desk.wait_for_change(7)
    assert 1 <= 1_000 - len(given) <= 2


async def test_a_desk_that_breaks_off_leaves_the_end_unknown_and_says_where_to_look(
    tmp_path: Path,
) -> None:
    async with hostile_desk(tmp_path, []) as desk:
        with pytest.raises(DeskLost) as lost:
            await desk.answer(DIGEST, YES)
    assert "audit list" in str(lost.value.hint)


async def test_a_desk_whose_queue_is_full_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "CONNECT_S", 0.1)
    monkeypatch.setattr(place, "BACKLOG", 0)
    with place.opened(tmp_path, make=True) as desks:
        assert desks is not None
        listener, name = desks.listen()
        with listener, desks.connect(name):
            desk = RemoteDesk(runtime_dir=tmp_path, name=name)
            with pytest.raises(DeskLost):
                await desk.wait_for_change(UNSEEN)
