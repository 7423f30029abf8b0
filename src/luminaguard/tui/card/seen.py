"""What of a card has been on the screen."""

from luminaguard.tui.card.block import Block


class Seen:
    """Remembers, for each block, which of its lines were drawn.

    A block that was seen whole stays so, whatever the width; of others the lines are forgotten
    when they are laid out anew.
    """

    def __init__(self, blocks: int) -> None:
        """Begin with nothing seen."""
        self._whole = bytearray(blocks)
        self._lines: dict[int, int] = {}

    def saw(self, number: int, block: Block, line: int) -> None:
        """Take note that a line of an unfolded block was drawn."""
        if self._whole[number]:
            return
        lines = self._lines.get(number, 0) | 1 << line
        if lines == (1 << block.height) - 1:
            self._whole[number] = True
            self._lines.pop(number, None)
        else:
            self._lines[number] = lines

    def forget_lines(self) -> None:
        """Lines mean something else from now on: the width is another one."""
        self._lines.clear()

    def is_whole(self, first: int, last: int) -> bool:
        """Return whether all blocks of a range were seen whole."""
        return self._whole.find(0, first, last) < 0
