"""Turn a captured terminal screen (`tmux capture-pane -p -e`) into an SVG for the documents.

python tools/screenshot.py "title" < screen.ansi > docs/images/name.svg
"""

import io
import re
import sys

from rich.console import Console
from rich.text import Text

_FONTS = re.compile(r"@font-face \{.*?\}\s*", re.DOTALL)
"""They would be fetched from elsewhere; the reader's own monospaced font does."""


def svg_of(screen: str, title: str) -> str:
    """Return the screen as it was drawn, colors and all."""
    text = Text.from_ansi(screen.rstrip())
    columns = max(line.cell_len for line in text.split("\n"))
    console = Console(
        record=True, width=columns, file=io.StringIO(), force_terminal=True, color_system="standard"
    )
    console.print(text, soft_wrap=True)
    svg = _FONTS.sub("", console.export_svg(title=title))
    return svg.replace("Fira Code", "DejaVu Sans Mono")


if __name__ == "__main__":
    sys.stdout.write(svg_of(sys.stdin.read(), sys.argv[1]))
