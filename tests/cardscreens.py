"""Cards with everything on them, and an app that shows one, for tests of what is on the screen."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from textual.app import App, ComposeResult
from textual.geometry import Region
from textual.pilot import Pilot

import luminaguard.tui  # noqa: F401 - forgets what the environment tells the toolkit
from luminaguard.approval.card import DiffCard
from luminaguard.approval.look import Look
from luminaguard.domain.calls import ToolCall
from luminaguard.domain.changeset import (
    Change,
    ChangeKind,
    Changeset,
    Entry,
    EntryType,
    Mark,
    Scratch,
)
from luminaguard.domain.diff import Body, FileDiff, Hunk, LineKind
from luminaguard.domain.execution import Ended, GuestReport
from luminaguard.domain.grant import GrantOffer, GrantScope
from luminaguard.domain.verdict import Lane, Risk, Verdict
from luminaguard.testing.cards import card_of, file_entry, text_change
from luminaguard.tui.card.view import CardView

ASKED_AT = datetime(2026, 11, 21, 12, 0, 0, tzinfo=UTC)
LOOK = Look(color=True, unicode=True)

_BEFORE = (
    "def total(order):\n    price = order.price\n    return price * 2\n\n\ndef name():\n    pass"
)
_CHANGED = (
    (LineKind.CONTEXT, "def total(order):"),
    (LineKind.REMOVED, "    price = order.price"),
    (LineKind.REMOVED, "    return price * 2"),
    (LineKind.ADDED, "    price = order.net_price"),
    (LineKind.ADDED, "    return price * 3  # was 2"),
    (LineKind.CONTEXT, ""),
)


def full_card(risk: Risk = Risk.HIGH) -> DiffCard:
    """Return a card on which every part of a card is."""
    links = [Entry(type=EntryType.SYMLINK, mode=0o777, target=to) for to in ("v1", "/etc/passwd")]
    runs_later = Mark(name="runs-later", why="git runs it at the next commit")
    changes = (
        Change(
            path=".git/hooks/pre-commit",
            kind=ChangeKind.CREATE,
            before=None,
            after=file_entry(b"#!/bin/sh\nmake check\n", 0o755),
            marks=(runs_later,),
        ),
        Change(
            path="assets/logo.png",
            kind=ChangeKind.MODIFY,
            before=file_entry(b"1" * 40),
            after=file_entry(b"2" * 2_500_000),
        ),
        Change(
            path="current",
            kind=ChangeKind.SYMLINK,
            before=links[0],
            after=links[1],
            marks=(Mark(name="link-outside", why="It leads out of the workspace."),),
        ),
        text_change("docs/旧い案内.md", "# 案内\n\n古い。", None),
        Change(
            path="run.sh",
            kind=ChangeKind.CHMOD,
            before=file_entry(b"x"),
            after=file_entry(b"x", 0o755),
        ),
        text_change("shop/orders.py", _BEFORE, _BEFORE.replace("price * 2", "price * 3")),
    )
    added = tuple((LineKind.ADDED, text) for text in ("#!/bin/sh", "make check"))
    gone = tuple((LineKind.REMOVED, text) for text in ("# 案内", "", "古い。" * 30))
    second = ((LineKind.CONTEXT, "def name():"), (LineKind.ADDED, '    """A name\u202e."""'))
    diffs = (
        FileDiff(path=changes[0].path, body=Body.TEXT, added=2, hunks=(Hunk(0, 1, added),)),
        FileDiff(path="assets/logo.png", body=Body.BINARY),
        FileDiff(path="docs/旧い案内.md", body=Body.TEXT, removed=3, hunks=(Hunk(1, 0, gone),)),
        FileDiff(
            path="shop/orders.py",
            body=Body.TEXT,
            added=3,
            removed=2,
            hunks=(Hunk(11, 11, _CHANGED), Hunk(40, 40, second)),
            note="no newline at end of file",
        ),
    )
    changeset = Changeset(
        base="0" * 64,
        changes=changes,
        scratch=Scratch(files=12, size_bytes=3_400_000, examples=("build/a.o", "build/b.o")),
        dropped=("run/app.sock",),
    )
    report = GuestReport(
        ended=Ended.EXITED,
        exit_code=0,
        stdout=b"building\n\x1b[32mok\x1b[0m\n",
        stderr=b"warning: old\n",
        leftover=("node server.js",),
        duration_s=2.34,
    )
    call = ToolCall(
        call_id="1",
        tool="shell",
        arguments={"command": "make release && ./run.sh --out=dist src/*.py | tee 'build log.txt'"},
    )
    return replace(
        at_noon(card_of(changeset, diffs, call=call, risk=risk, report=report)),
        verdict=Verdict(
            lane=Lane.RED,
            risk=risk,
            rules=("shell.unknown-effect",),
            reasons=("`make` runs what the Makefile says",),
            changes=("files under dist",),
            reaches=("registry.example",),
            secrets=("DEPLOY_TOKEN",),
            instead=("make --dry-run release",),
        ),
        host_changes=("README.md",),
        left_out=(".env", "id_ed25519"),
        git=("branch main moves from 1a2b3c4 to 5d6e7f8: 2 commits",),
        predicted=("sends mail to ann@example.org: “Released”",),
        offers=(
            GrantOffer(
                offer_id="1",
                scope=GrantScope.SESSION,
                covers="make release that changes at most 10 files under dist, until the end",
                also=("make release VERSION=2",),
            ),
        ),
        prose="I only build the release.\nNothing is sent anywhere.",
    )


def at_noon(card: DiffCard) -> DiffCard:
    """Return a card that was asked about at a fixed time."""
    times = {"requested_at": ASKED_AT, "expires_at": ASKED_AT + timedelta(seconds=300)}
    return replace(card, request=replace(card.request, **times))


def lines_card(lines: list[str], path: str = "a.txt") -> DiffCard:
    """Return a card that creates one file of these lines, without comparing anything."""
    hunk = Hunk(0, 1, tuple((LineKind.ADDED, line) for line in lines))
    diff = FileDiff(path=path, body=Body.TEXT, added=len(lines), hunks=(hunk,))
    changeset = Changeset(base="0", changes=(text_change(path, None, "x"),))
    call = ToolCall(call_id="1", tool="t", arguments={"a": "b"})
    return at_noon(card_of(changeset, (diff,), call=call))


def files_card(count: int) -> DiffCard:
    """Return a card on which this many files change by a line."""
    lines = ((LineKind.CONTEXT, "a = 1"), (LineKind.REMOVED, "b = 2"), (LineKind.ADDED, "b = 3"))
    paths = [f"src/f{number:06}.py" for number in range(count)]
    hunks = (Hunk(1, 1, lines),)
    return card_of(
        Changeset(base="0", changes=tuple(text_change(path, "a", "b") for path in paths)),
        tuple(
            FileDiff(path=path, body=Body.TEXT, added=1, removed=1, hunks=hunks) for path in paths
        ),
        call=ToolCall(call_id="1", tool="t", arguments={"a": "b"}),
    )


class CardApp(App[None]):
    """Shows one card, and nothing else."""

    def __init__(self, card: DiffCard | None, look: Look = LOOK) -> None:
        super().__init__()
        self._card, self._look = card, look

    def compose(self) -> ComposeResult:
        yield CardView(id="card")

    def on_mount(self) -> None:
        self.view.show(self._card, self._look)
        self.view.focus()

    @property
    def view(self) -> CardView:
        """The card."""
        return self.query_one(CardView)


@asynccontextmanager
async def shown(
    card: DiffCard | None, columns: int = 80, rows: int = 24, look: Look = LOOK
) -> AsyncGenerator[tuple[CardView, Pilot[None]]]:
    """Run an app of a size that shows a card."""
    app = CardApp(card, look)
    async with app.run_test(size=(columns, rows)) as pilot:
        await pilot.pause()
        yield app.view, pilot


async def settle(view: CardView, pilot: Pilot[None]) -> None:
    """Wait until nothing is guessed, or looked for, any more."""
    await pilot.pause()
    while view.height_is_guessed or view.is_searching:
        await pilot.pause(0.05)
    await pilot.pause()


def screen(view: CardView) -> list[str]:
    """Return the card's lines as they are on the screen, without the scrollbar."""
    region = view.scrollable_content_region
    return [strip.text for strip in view.render_lines(Region(0, 0, region.width, region.height))]


async def whole(view: CardView, pilot: Pilot[None]) -> list[str]:
    """Return all of a card's lines, read screen by screen from the top.

    By what keys do rather than by keys: each costs a tenth of a second in which nothing happens.
    """
    view.action_ends(-1)
    found: list[str] = []
    while True:
        await pilot.pause(0)
        top = view.scroll_offset.y
        lines = screen(view)[1:]
        found[top:] = lines
        view.action_pages(1)
        await pilot.pause(0)
        if view.scroll_offset.y == top:
            return found
