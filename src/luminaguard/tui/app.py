"""The screen: queue, card, story and keys, over any number of desks.

It holds no question and makes no decision: a key that counts becomes an answer to the desk that the
shown card came from, by the digest of its request. A screen that goes away answers nothing.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, ClassVar

from textual import events, on
from textual.app import App
from textual.binding import Binding, BindingType
from textual.driver import Driver
from textual.pilot import Pilot

from luminaguard.approval.approvers import utc_now
from luminaguard.approval.desk.desk import Answer, Desk
from luminaguard.approval.keys import KeyGate
from luminaguard.approval.look import Look, look_of
from luminaguard.domain.visible import visible
from luminaguard.errors import LuminaGuardError
from luminaguard.tui.answering import Answering
from luminaguard.tui.arming import Arming
from luminaguard.tui.board import Board, Entry
from luminaguard.tui.card.palette import terminal_theme
from luminaguard.tui.card.view import CardView
from luminaguard.tui.dialogs import Dialog, GrantDialog, TextDialog
from luminaguard.tui.follow import Following
from luminaguard.tui.help import help_rows, leave_rows
from luminaguard.tui.lines import Footing, head_spans, key_spans, status_spans
from luminaguard.tui.pager import PagerLoan
from luminaguard.tui.queue_view import QueueView
from luminaguard.tui.screen import MainScreen
from luminaguard.tui.stage import AppStage, tty_driver
from luminaguard.tui.surroundings import Others, RunHere
from luminaguard.tui.trail import Trail
from luminaguard.tui.trail_view import TrailView

TICK_S = 1.0
NOTICE_S = 12.0
"""How long a notice stands."""
ANSWERS = frozenset("agr")
"""Keys that only count as `arming` says; every other key acts at once, and disarms."""
LOST = "the terminal was closed"
LEFT = "left"


class CliffApp(App[str]):
    """Shows the questions of all attached desks. `run_async` returns why it ended."""

    TITLE = "LuminaGuard"
    ENABLE_COMMAND_PALETTE = False
    CSS = "Screen { scrollbar-size-vertical: 1; }"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("ctrl+c", "interrupt", show=False, priority=True),
        Binding("ctrl+q", "leave", show=False),
    ]

    def __init__(
        self,
        *,
        terminal_path: str = "/dev/tty",
        environ: Mapping[str, str] | None = None,
        now: Callable[[], datetime] = utc_now,
        gate: KeyGate | None = None,
        run: RunHere | None = None,
        others: Others | None = None,
        driver_class: type[Driver] | None = None,
    ) -> None:
        """Choose what the screen is made of; nothing is drawn yet.

        Args:
            terminal_path: Where keys come from and the screen is drawn.
            environ: Read for TERM, NO_COLOR, the locale and PAGER.
            now: Wall clock, UTC.
            gate: Decides which keys count; the usual times by default.
            run: The run that the screen belongs to; None: it only looks at others.
            others: What it looks at of other processes; None: nothing.
            driver_class: How the toolkit talks to the terminal. Default: by its own path.
        """
        super().__init__(driver_class=driver_class or tty_driver())
        self.ansi_theme_dark = terminal_theme(is_dark=True)
        self.ansi_theme_light = terminal_theme(is_dark=False)
        self.terminal_path = terminal_path
        self.environ = dict(os.environ if environ is None else environ)
        self.board = Board()
        self.trail = run.trail if run else Trail(now)
        self.started_at = now()
        self._notice = ""
        self._now = now
        self._notice_at = self.started_at
        self._run = run
        self._others = others
        self._stage = AppStage(self, lambda: self._driver)
        self._arming = Arming(self._stage, gate or KeyGate())
        self._is_armed = False
        self._answering = Answering(self)
        self._paged: set[str] = set()
        self._following = Following(self.board, self.trail, self)
        self._loan = PagerLoan(self)
        self._shown: Entry | None = None

    @property
    def look(self) -> Look:
        """Size and abilities of the terminal."""
        return look_of(self.environ, columns=self.size.width, rows=self.size.height)

    @property
    def subject(self) -> str:
        """What a key that counts is about now; empty: none counts."""
        main, top = self._main, self.screen
        entry = self.board.selected
        if self._loan.is_open or main is None or main.is_tiny or entry is None:
            return ""
        if isinstance(top, Dialog):
            return top.subject
        if main.hides_card or entry.digest in self._answering.sending or entry is not self._shown:
            return ""
        return entry.digest

    @property
    def _main(self) -> MainScreen | None:
        return next((one for one in self.screen_stack if isinstance(one, MainScreen)), None)

    def on_mount(self) -> None:
        """Begin to show what the desks hold."""
        queue = QueueView(self.board, self._now)
        main = MainScreen(queue, CardView(id="card"), TrailView(self.trail))
        self.trail.on_change = self._story_changed
        self.push_screen(main)
        self.call_after_refresh(self._begin)

    def _begin(self) -> None:
        main = self._main
        if main is None:
            return
        self._stage.try_terminal()
        for desk in self._following.desks:
            self.run_worker(self._following.follow(desk))
        if self._others is not None:
            self.run_worker(self._others.watch(self))
        self.set_interval(TICK_S, self._tick)
        self._show()

    def _show(self) -> None:
        """Draw everything again that is not the card, and the card if it is another one."""
        main = self._main
        if main is None or not main.is_mounted:
            return
        if self.board.selected is not self._shown:
            self._shown = self.board.selected
            main.card.show(self._shown.pending.card if self._shown else None, self.look)
            self.call_after_refresh(self._moved)
        main.fit(self.look, has_card=self._shown is not None)
        if self.subject != self._arming.subject:
            self._moved()
        main.queue.show(self.look)
        self._story_changed()
        self._lines()

    def _lines(self) -> None:
        main = self._main
        if main is None or not main.is_mounted:
            return
        look, known = self.look, self._run or self._others
        footing = Footing(
            board=self.board,
            matches=main.card.matches,
            unseen=main.card.unseen_changes,
            now=self._now(),
            started_at=self.started_at,
            doing=self.trail.doing if self._run else "",
            pool=known.pool_text() if known else "",
            cost=self._run.cost_text() if self._run else "",
            notice=self._notice,
            is_armed=self._is_armed,
            runs_here=self._run is not None,
        )
        main.line("head", head_spans(footing, look), look)
        main.line("status", status_spans(footing, look), look)
        main.line("keys", key_spans(footing, look), look)

    def _story_changed(self) -> None:
        main = self._main
        if main is not None and main.is_mounted:
            main.trail.show(self.look)
            self._lines()

    def tell(self, text: str) -> None:
        """Show a notice for a while, and keep it in the story."""
        self._notice, self._notice_at = visible(text), self._now()
        self.trail.notice(text)

    def show_armed(self, *, is_armed: bool) -> None:
        """Show whether keys count."""
        if is_armed != self._is_armed:
            self._is_armed = is_armed
            self._lines()

    def _tick(self) -> None:
        now = self._now()
        self._following.expire(now)
        if (now - self._notice_at).total_seconds() > NOTICE_S:
            self._notice = ""
        main = self._main
        if main is not None and main.is_mounted:
            main.queue.tick()
        self._lines()

    def attach(self, desk: Desk, name: str = "") -> None:
        """Show what is open on a desk from now on."""
        self._following.add(desk, name)
        if self._main is not None:
            self.run_worker(self._following.follow(desk))

    def gone(self, entries: Sequence[Entry]) -> None:
        """Close what belongs to questions that are no longer on the board."""
        if self._shown in entries:
            self._loan.end()
        lost = {entry.digest for entry in entries}
        if isinstance(self.screen, Dialog) and self.screen.digest in lost:
            self.pop_screen()
        self._show()

    def changed(self) -> None:
        """Show what is on the board now."""
        self._show()

    async def on_event(self, event: events.Event) -> None:
        """Have every key judged before anything acts on it."""
        if isinstance(event, events.InputEvent) and not event.is_forwarded:
            if isinstance(event, events.Key) and event.key in ANSWERS:
                self._arming.typed(event.key, event.time)
            elif not isinstance(event, events.MouseMove):
                self._moved()
        await super().on_event(event)

    def _moved(self) -> None:
        self._arming.moved(self.subject)

    def on_card_view_moved(self) -> None:
        """Disarm: another part of the card is on the screen."""
        self._moved()
        self._lines()

    def on_resize(self) -> None:
        """Fit everything to the new size; keys count again when it rests."""
        self.call_after_refresh(self._resized)
        self._moved()

    def _resized(self) -> None:
        self._show()
        self._moved()

    @on(events.AppFocus)
    @on(GrantDialog.Chosen)
    def disarm(self) -> None:
        """Disarm: the window has just come back, or another offer is looked at."""
        self._moved()

    def on_cursor_position(self) -> None:
        """Take note that the terminal has drawn what was sent before the question."""
        self._stage.terminal_answered()
        self._arming.drawn()

    def answer_key(self, key: str, subject: str) -> None:
        """Act on a key that counts; nothing if it was about something else than is shown now."""
        entry = self.open_entry(subject.partition(" ")[0])
        if entry is None or subject != self.subject:
            return
        if not isinstance(self.screen, GrantDialog):
            self._answering.key(key, entry)
        elif key == "a":
            self.screen.take()

    def open_entry(self, digest: str) -> Entry | None:
        """Return the entry of a request that is still open, by the clock too."""
        entry = self.board.find(digest)
        return None if entry is None or entry.left_s(self._now()) <= 0 else entry

    def was_seen(self, entry: Entry) -> bool:
        """Return whether all of the entry's card was on the screen, or read in the pager."""
        main = self._main
        is_shown = main is not None and entry is self._shown and main.card.seen_whole
        return is_shown or entry.digest in self._paged

    def ask(self, dialog: Dialog[Any], act: Callable[[Any], None]) -> None:
        """Open a dialog, and act on what it hands back; nothing after Esc."""

        def closed(found: object) -> None:
            self._moved()
            if found is not None:
                act(found)

        self.push_screen(dialog, closed)
        self.call_after_refresh(self._moved)
        self._moved()

    def send(self, entry: Entry, answer: Answer) -> None:
        """Begin to hand an answer to the entry's desk."""
        self._moved()
        self.run_worker(self._send(entry, answer))

    @property
    def can_prove(self) -> bool:
        """Whether an approver secret can be taken here."""
        return self._others is not None

    def prove(self, secret: str, entry: Entry, answer: Answer) -> None:
        """Begin to unlock the approver secret, and hand the answer over once that is done."""
        if self._others is not None:
            self.run_worker(self._prove(self._others, secret, entry, answer))

    async def _prove(self, others: Others, secret: str, entry: Entry, answer: Answer) -> None:
        try:
            await others.prove(secret)
        except LuminaGuardError as error:
            self.tell(f"not approved: {error}")
            return
        self._answering.again(entry, answer)

    async def _send(self, entry: Entry, answer: Answer) -> None:
        if await self._answering.deliver(entry, answer):
            self._following.answered_here(entry)
        else:
            self._following.take(entry.desk)
        self._moved()
        self._show()

    def action_step(self, by: int) -> None:
        """Look at another question."""
        self.board.step(by)
        self._show()

    def on_queue_view_picked(self, message: QueueView.Picked) -> None:
        """Look at the question that was clicked."""
        self.board.step(message.index - self.board.index)
        self._show()

    def on_main_screen_rearranged(self, message: MainScreen.Rearranged) -> None:
        """Fit what is shown; keys count again when it rests."""
        if message.notice:
            self.tell(message.notice)
        self._show()
        self._moved()

    def action_help(self) -> None:
        """Show what the keys do."""
        self.ask(TextDialog(self.look, help_rows()), lambda _: None)

    def action_leave(self) -> None:
        """Close the screen, once that is confirmed."""
        if self._main is not None and self._main.is_tiny:
            self.exit(LEFT)
            return
        rows = leave_rows(len(self.board.entries), runs_here=self._run is not None)
        self.ask(TextDialog(self.look, rows, yes_key="q"), lambda _: self.exit(LEFT))

    def action_interrupt(self) -> None:
        """Interrupt the run that the screen belongs to, or close the screen."""
        if self._run is None:
            self.exit(LEFT)
        else:
            self.tell("interrupted: nothing more is committed")
            self._run.interrupt()

    def action_page(self) -> None:
        """Show the whole card in the pager."""
        if self._shown is not None and not self._loan.is_open:
            self.run_worker(self._page(self._shown))

    async def _page(self, entry: Entry) -> None:
        self._moved()
        card, left_s = entry.pending.card, entry.left_s(self._now())
        if await self._loan.read(card, left_s, path=self.terminal_path, environ=self.environ):
            self._paged.add(entry.digest)
        self._arming.forget_asked()
        self._show()
        self._moved()

    def terminal_recovered(self) -> None:
        """Draw all of it again: frames were dropped."""
        self._moved()
        self.refresh(layout=True)

    def terminal_lost(self) -> None:
        """End: nobody can answer here any more."""
        self.exit(LOST)

    async def show(self) -> str:
        """Run the screen until it is left, lost or closed, and return why."""
        return await self.run_async(auto_pilot=_nobody) or ""


async def _nobody(pilot: Pilot[object]) -> None:
    """Press no keys: nor does anybody whom the environment names."""
    del pilot
