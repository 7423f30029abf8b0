"""A card as one long column of lines, of which only those near the eye are ever laid out.

Sections are divided into blocks of rows. A block's height is guessed from its number of rows until
it is laid out, once it comes into view or when `measure` gets to it; blocks out of sight are
forgotten again. So opening a card costs one screen, whatever its size, and memory stays bounded.
Nothing here draws: the widget does.
"""

from array import array
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from luminaguard.approval.card import DiffCard
from luminaguard.approval.look import Ground, Look
from luminaguard.approval.outline import BLANK, Outline, Part, Section, foldable
from luminaguard.approval.rows import Row, fit, shown
from luminaguard.tui.card.block import Block
from luminaguard.tui.card.index import Heights
from luminaguard.tui.card.seen import Seen

BLOCK_ROWS = 128
"""Rows of a section that are laid out together."""
KEPT_BLOCKS = 64
KEPT_CHARACTERS = 1 << 24
"""Blocks, and characters of their text, that stay laid out."""
KEPT_SECTIONS = 16


@dataclass(frozen=True, slots=True)
class Place:
    """A character of a card, wherever it stands at the width of the day."""

    block: int
    row: int
    offset: int = 0
    """Characters of the row's visible text before it."""


class CardDocument:
    """The lines of one card for one look."""

    def __init__(self, card: DiffCard, look: Look) -> None:
        """Take a card; only its parts are counted yet."""
        self.card = card
        self.outline = Outline(card)
        self._look = look
        self._folded = {
            number for number in self._others() if self.outline[number] is Part.EVERYTHING
        }
        self._firsts = array("I", self._first_blocks())
        self._seen = Seen(self._firsts[-1])
        self._begin()

    def _others(self) -> Iterator[int]:
        changes = self.outline.changes
        yield from range(changes.start)
        yield from range(changes.stop, len(self.outline))

    def _first_blocks(self) -> Iterator[int]:
        blocks = 0
        for number in range(len(self.outline)):
            yield blocks
            blocks += 1 + (self.outline.rough_rows(number) - 1) // BLOCK_ROWS
        yield blocks

    def _begin(self) -> None:
        self._kept: OrderedDict[int, Block] = OrderedDict()
        self._weight = 0
        self._sections: OrderedDict[int, Section] = OrderedDict()
        self._heights = Heights(list(self._guesses()))
        self._is_measured = bytearray(len(self._heights))
        self._unmeasured = self._measuring()

    def _guesses(self) -> Iterator[int]:
        for number in range(len(self.outline)):
            rows = self.outline.rough_rows(number)
            yield 1 if number in self._folded else min(rows, BLOCK_ROWS) + 2
            for first in range(BLOCK_ROWS, rows, BLOCK_ROWS):
                yield 0 if number in self._folded else min(rows - first, BLOCK_ROWS)

    # What it looks like

    @property
    def look(self) -> Look:
        """The look that lines are laid out for."""
        return self._look

    @look.setter
    def look(self, look: Look) -> None:
        if look != self._look:
            self._look = look
            self._seen.forget_lines()
            self._begin()

    @property
    def height(self) -> int:
        """Lines of the whole card; a guess as long as not all is measured."""
        return self._heights.total

    def at(self, line: int) -> tuple[Block, int]:
        """Return the block that shows a line of the card, and which of its lines it is.

        Laying a block out may show that it is higher or lower than guessed: lines below move, the
        block's own first line does not.
        """
        while True:
            number, within = self._heights.find(line)
            block = self.block(number)
            if within < block.height:
                return block, within

    def block(self, number: int) -> Block:
        """Return a block, laid out."""
        found = self._kept.get(number)
        if found is not None:
            self._kept.move_to_end(number)
            return found
        block = self._measured(number)
        self._kept[number] = block
        self._weight += block.weight
        while len(self._kept) > KEPT_BLOCKS or (
            self._weight > KEPT_CHARACTERS and len(self._kept) > 1
        ):
            self._weight -= self._kept.popitem(last=False)[1].weight
        return block

    def _measured(self, number: int) -> Block:
        block = self._laid_out(number)
        self._heights[number] = block.height
        self._is_measured[number] = True
        return block

    def _laid_out(self, number: int) -> Block:
        section = self.section_of(number)
        first, last = self._firsts[section], self._firsts[section + 1]
        lead = self._lead(section) if number == first else ()
        if section in self._folded:
            return Block(number, section, lead, (), self._look)
        begin = (number - first) * BLOCK_ROWS
        end = None if number == last - 1 else begin + BLOCK_ROWS
        return Block(number, section, lead, self._section(section).rows[begin:end], self._look)

    def _lead(self, number: int) -> tuple[Row, ...]:
        section = self._section(number)
        if section.heading is None:
            return ()
        if number not in self._folded:
            return (BLANK, foldable(section.heading, self._look, folded_lines=None))
        heading = foldable(section.heading, self._look, folded_lines=len(section.rows))
        return (heading,) if number - 1 in self._folded else (BLANK, heading)

    def _section(self, number: int) -> Section:
        found = self._sections.get(number)
        if found is None:
            found = self._sections[number] = self.outline.section(number, self._look)
            if len(self._sections) > KEPT_SECTIONS:
                self._sections.popitem(last=False)
        return found

    # Where things are

    @property
    def blocks(self) -> int:
        """Number of blocks."""
        return len(self._heights)

    @property
    def laid_out_blocks(self) -> int:
        """Number of blocks that are laid out now."""
        return len(self._kept)

    def section_of(self, block: int) -> int:
        """Return the section that a block belongs to."""
        return bisect_right(self._firsts, block) - 1

    def top_of_section(self, section: int) -> int:
        """Return the line at which a section begins: its heading, not the blank line before it."""
        first = self._firsts[section]
        return self._heights.top(first) + self.block(first).heading_lines.start

    def place_at(self, line: int) -> Place:
        """Return what stands on a line, to be found again at another width."""
        block, within = self.at(line)
        fitted, row, part = block.place(within)
        return Place(block.number, row, fitted.start(part))

    def line_of(self, place: Place) -> int:
        """Return the line that shows a place."""
        block = self.block(place.block)
        if not block.fitted:
            return self._heights.top(place.block)
        return self._heights.top(place.block) + block.line_at(place.row, place.offset)

    def last_screen(self, rows: int) -> int:
        """Return the line from which on the last lines fill a screen of that many rows."""
        left, number = rows, self.blocks
        while left > 0 and number > 0:
            number -= 1
            left -= self.block(number).height
        return max(0, self.height - rows)

    def below(self, line: int, count: int) -> int:
        """Return the line so many lines below another, or above it if `count` is negative.

        What lies between is laid out first: a guessed height above would make lines be skipped.
        """
        block, within = self.at(line)
        number, left = block.number, -count - within
        while left > 0 and number > 0:
            number -= 1
            left -= self.block(number).height
        return max(0, self._heights.top(block.number) + within + count)

    def next_hunk(self, line: int, direction: int) -> int | None:
        """Return where the next or previous run of changed lines begins; None without one."""
        at = line + direction
        was_changed = self._is_changed(line)
        while 0 <= at < self.height:
            is_changed = self._is_changed(at)
            if direction > 0 and is_changed and not was_changed:
                return at
            if direction < 0 and is_changed and not (at > 0 and self._is_changed(at - 1)):
                return at
            was_changed = is_changed
            at += direction
        return None

    def _is_changed(self, line: int) -> bool:
        block, within = self.at(line)
        return block.place(within)[0].row.ground is not Ground.NONE

    def texts(self, number: int) -> Iterator[tuple[int, str]]:
        """Yield the visible text of each row of a block with its number, folded away or not."""
        section = self.section_of(number)
        first, last = self._firsts[section], self._firsts[section + 1]
        whole = self._section(section)
        if number == first and whole.heading is not None:
            yield -1, fit(whole.heading, self._look).text
        begin = (number - first) * BLOCK_ROWS
        end = None if number == last - 1 else begin + BLOCK_ROWS
        for row, one in enumerate(whole.rows[begin:end]):
            yield row, "".join(shown(text, self._look) for _, text in one.spans)

    # What was seen

    def saw(self, block: Block, line: int) -> None:
        """Take note that a line was on the screen."""
        if block.section not in self._folded:
            self._seen.saw(block.number, block, line)

    def is_seen(self, sections: range) -> bool:
        """Return whether some sections were on the screen whole, unfolded, at some time."""
        return self._seen.is_whole(self._firsts[sections.start], self._firsts[sections.stop])

    @property
    def is_seen_whole(self) -> bool:
        """Whether each line was on the screen at some time; mere repetitions do not count."""
        parts = range(len(self.outline))
        return all(
            self.is_seen(range(number, number + 1))
            for number in parts
            if self.outline[number] is not Part.EVERYTHING
        )

    def redraw(self) -> None:
        """Forget what was drawn, but not how it was laid out."""
        for block in self._kept.values():
            block.drawn.clear()

    # Folding

    def is_folded(self, section: int) -> bool:
        """Return whether a section shows its heading only."""
        return section in self._folded

    def can_fold(self, section: int) -> bool:
        """Return whether a section has a heading to fold under."""
        return self.outline[section] not in {Part.HEAD, Part.END}

    def fold(self, section: int, *, folded: bool) -> None:
        """Fold a section away, or show it again."""
        if not self.can_fold(section) or folded == self.is_folded(section):
            return
        (self._folded.add if folded else self._folded.discard)(section)
        rows = self.outline.rough_rows(section)
        for number in range(self._firsts[section], self._firsts[section + 1]):
            self._drop(number)
            self._heights[number] = 0 if folded else min(rows, BLOCK_ROWS)
            self._is_measured[number] = False
            rows -= BLOCK_ROWS
        below = self._firsts[section + 1]  # may have, or lose, a blank line above it
        self._drop(below)
        self.block(self._firsts[section])
        self.block(below)
        self._unmeasured = self._measuring()

    def _drop(self, number: int) -> None:
        dropped = self._kept.pop(number, None)
        self._weight -= dropped.weight if dropped else 0

    def fold_all(self, *, folded: bool) -> None:
        """Fold all changes away, or show all of them."""
        changes = set(self.outline.changes)
        self._folded = self._folded | changes if folded else self._folded - changes
        self._begin()

    # Measuring

    @property
    def is_measured(self) -> bool:
        """Whether the height of each block is known."""
        return self._is_measured.find(0) < 0

    def measure(self, is_time_up: Callable[[], bool]) -> bool:
        """Lay out blocks that were only guessed, until time is up; return whether all are done."""
        return all(not is_time_up() for _ in self._unmeasured)

    def _measuring(self) -> Iterator[None]:
        for number in range(self.blocks):
            if not self._is_measured[number]:
                self._measured(number)
                yield
