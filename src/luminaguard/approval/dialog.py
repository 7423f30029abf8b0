"""The conversation on a terminal: show the card, take one deliberate answer."""

import time
from codecs import getincrementaldecoder
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from luminaguard.approval.approver import INTERRUPTED
from luminaguard.approval.card import DiffCard
from luminaguard.approval.facts import headline_spans
from luminaguard.approval.keys import KeyGate, WordGate
from luminaguard.approval.look import BADGES, Look, Style, look_of
from luminaguard.approval.pager import keeps_colors, page_by_page, pager_command, run_pager
from luminaguard.approval.plain import first_look, full
from luminaguard.approval.rows import Row, Span, lay_out, shown
from luminaguard.approval.terminal import Terminal
from luminaguard.approval.wrap import width
from luminaguard.domain.approval import End
from luminaguard.domain.verdict import Risk

APPROVING_WORD = "approve"
LONGEST_LINE = 500
"""Characters of a reason; further ones are not taken."""
LONGEST_LISTENING_S = 3600.0

_HELP = (
    "a  approve: commit exactly what the card shows, byte for byte",
    "g  approve and remember, where the card offers something to be remembered",
    "r  reject: throw it away; you may say why, and the one who asked is told",
    "v  view all: the whole card, nothing left out",
    "Ctrl-C  interrupt: throw it away and end the run",
    "No answer until the card expires throws it away, too. Enter alone does nothing.",
)


_APPROVED = "approved on the terminal"


class _Interrupted(Exception):
    """Ctrl-C or Ctrl-D was pressed."""


@dataclass(frozen=True, slots=True)
class Answer:
    """How the conversation ended."""

    end: End
    reason: str = ""
    grant: str = ""
    """Id of the offer that is remembered; empty: just this once."""


@dataclass(slots=True, kw_only=True)
class Dialog:
    """Asks about one card on one terminal. Blocking; to be run in a thread."""

    terminal: Terminal
    card: DiffCard
    path: str
    environ: Mapping[str, str]
    gate: KeyGate
    clock: Callable[[], float] = time.monotonic
    _unseen: bool = field(default=False, init=False)
    """A part of the effect was left out and has not been viewed."""
    _word: WordGate = field(default_factory=WordGate, init=False)

    def run(self) -> Answer:
        """Return the human's answer.

        Raises:
            TerminalLost: nobody can answer any more.
            TimeIsUp: nobody answered in time.
            Woken: the question is withdrawn.
        """
        with self.terminal.single_keys():
            self.terminal.forget_typed()
            first = first_look(self.card, self._look())
            self._unseen = first.is_cut
            self.terminal.write("\n" + "".join(f"{line}\n" for line in first.lines))
            try:
                return self._answer()
            except _Interrupted as interrupted:
                self.terminal.write("\n")
                return Answer(End.FAILED, str(interrupted))

    def _answer(self) -> Answer:
        self._prompt()
        while True:
            key = self._key()
            if key == b"a" and self._is_approved():
                return Answer(End.APPROVED, _APPROVED)
            if key == b"g" and (grant := self._remembered()):
                return Answer(End.APPROVED, _APPROVED, grant)
            if key == b"r":
                reason = self._line("Why not? (Enter: no reason, Esc: back) ")
                if reason is not None:
                    return Answer(End.REJECTED, reason)
            if key == b"v":
                self._view()
            if key == b"?":
                self._say(*_HELP)
            if key in {b"a", b"g", b"r", b"v", b"?"}:
                self._prompt()

    def _remembered(self) -> str:
        """Return the id of the offer that is taken with a yes; empty when none is."""
        offers = self.card.offers
        if not offers:
            self._say("This card offers nothing to be remembered.")
            return ""
        for number, offer in enumerate(offers, 1):
            self._say(f"{number}  {offer.scope.value}: {offer.covers}")
            self._say(*(f"   also lets through: {example}" for example in offer.also))
        typed = self._line("Remember which? (its number; Enter or Esc: none) ")
        chosen = {str(number): offer for number, offer in enumerate(offers, 1)}.get(typed or "")
        if chosen is None:
            return ""
        self._say(f"Approve, and remember {chosen.scope.value}: {chosen.covers}")
        self._say("[a] approves and remembers, any other key goes back.")
        self._settle()
        return chosen.offer_id if self._key() == b"a" and self._is_approved() else ""

    def _is_approved(self) -> bool:
        if self.card.risk is not Risk.CRITICAL:
            return True
        if self._unseen:
            self._say("This is critical and not all of it was on the screen: press v first.")
            return False
        word = self._line(f"Critical: type the word {APPROVING_WORD} and press Enter: ")
        is_word = word == APPROVING_WORD
        if is_word and self._word.is_typed(self.clock()):
            return True
        self._say("Not approved. That came too fast for a hand." if is_word else "Not approved.")
        return False

    def _view(self) -> None:
        look = self._look()
        command = pager_command(self.environ)
        if command and self.path == "/dev/tty":
            colored = replace(look, color=look.color and keeps_colors(command))
            run_pager(
                command,
                full(self.card, colored),
                terminal=self.terminal,
                path=self.path,
                environ=self.environ,
            )
        else:
            page_by_page(full(self.card, look), self.terminal)
        self._unseen = False

    def _prompt(self) -> None:
        """Say once more what is asked, and which keys there are: from now on they count."""
        look = self._look()
        badge = self.card.risk.value.upper()
        badge = f" {badge} " if look.color else badge
        keys: list[Span] = []
        remember = [("g", "remember")] if self.card.offers else []
        known = [("a", "approve"), *remember, ("r", "reject"), ("v", "view all"), ("?", "help")]
        for key, word in known:
            keys += [
                (Style.KEY, f" {key} " if look.color else f"[{key}]"),
                (Style.PLAIN, f" {word}  "),
            ]
        until = self.card.request.expires_at.astimezone()
        effect = (
            (BADGES[self.card.risk], badge),
            (Style.PLAIN, "  "),
            *headline_spans(self.card, look),
            (Style.QUIET, f"  open until {until:%H:%M:%S}"),
        )
        self._settle()
        self._write_rows(Row(effect, edge=(), prose=True), Row(tuple(keys), edge=(), prose=True))

    def _settle(self) -> None:
        """Wait until the screen was still, and the keyboard silent, for a moment.

        What is typed meanwhile is read, not flushed: Ctrl-C always counts.
        """
        self.gate.shown(self.clock())
        while not self.gate.is_armed(self.clock()):
            self._listen()

    def _key(self) -> bytes:
        while True:
            self._listen()
            key = self.gate.answer(self.clock())
            if key:
                return key

    def _listen(self) -> None:
        typed = self.terminal.read(min(self.gate.wait_s(self.clock()), LONGEST_LISTENING_S))
        if typed:
            self._end_on_interrupt(typed)
            self.gate.typed(typed, self.clock())

    def _line(self, question: str) -> str | None:
        """Return a typed line, None when the human went back with Esc."""
        self.terminal.write(question)
        decoder = getincrementaldecoder("utf-8")("ignore")
        line = ""
        self._word.begun_anew()
        while True:
            typed = self.terminal.read(LONGEST_LISTENING_S)
            self._end_on_interrupt(typed)
            if typed not in {b"\r", b"\n"}:
                self._word.typed(self.clock())
            for char in decoder.decode(typed):
                if char in "\r\n":
                    self.terminal.write("\n")
                    return line.strip()
                if char == "\x1b":
                    self.terminal.write("\n")
                    return None
                line = self._edited(line, char)

    def _edited(self, line: str, char: str) -> str:
        """Return the line after one more key, and show it."""
        look = self._look()
        if char in "\x7f\b":
            self.terminal.write("\b \b" * width(shown(line[-1:], look)))
            return line[:-1]
        if not char.isprintable() or len(line) >= LONGEST_LINE:
            return line
        self.terminal.write(shown(char, look))
        return line + char

    @staticmethod
    def _end_on_interrupt(typed: bytes) -> None:
        if b"\x03" in typed:
            raise _Interrupted(INTERRUPTED)
        if b"\x04" in typed:
            raise _Interrupted("end of input on the terminal")

    def _say(self, *lines: str) -> None:
        self._write_rows(*(Row(((Style.PLAIN, line),), prose=True) for line in lines))

    def _write_rows(self, *rows: Row) -> None:
        self.terminal.write("".join(f"{line}\n" for line in lay_out(rows, self._look())))

    def _look(self) -> Look:
        columns, rows = self.terminal.size()
        return look_of(self.environ, columns=columns, rows=rows)
