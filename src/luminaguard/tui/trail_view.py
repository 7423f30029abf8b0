"""The trail on the screen: the latest lines, or those that were scrolled to."""

from rich.text import Text
from textual.geometry import Size
from textual.scroll_view import ScrollView
from textual.strip import Strip

from luminaguard.approval.look import Look
from luminaguard.tui.strips import lines_of, strip_of
from luminaguard.tui.trail import Trail, rows_of


class TrailView(ScrollView, can_focus=False):
    """Follows a trail while it is at its end."""

    DEFAULT_CSS = """
    TrailView { height: 1fr; overflow-x: hidden; scrollbar-size-vertical: 1; }
    """

    def __init__(self, trail: Trail) -> None:
        """Show `trail`."""
        super().__init__(id="trail")
        self._trail = trail
        self._look = Look()
        self._lines: list[Text] = []

    def show(self, look: Look) -> None:
        """Draw the trail as it is now."""
        self._look = look
        follows = self.is_vertical_scroll_end
        width = self.size.width
        if width <= 0:
            return
        narrow = Look(columns=width, color=look.color, unicode=look.unicode)
        self._lines = lines_of(rows_of(self._trail, look), narrow)
        self.virtual_size = Size(width, len(self._lines))
        if follows:
            self.scroll_end(animate=False)
        self.refresh()

    def on_resize(self) -> None:
        """Lay the story out to the new width."""
        self.show(self._look)

    def render_line(self, y: int) -> Strip:
        """Return one screen line."""
        at = y + self.scroll_offset.y
        if not 0 <= at < len(self._lines):
            return Strip.blank(self.size.width, self.rich_style)
        strip = strip_of(self._lines[at]).extend_cell_length(self.size.width)
        return strip.apply_style(self.rich_style)
