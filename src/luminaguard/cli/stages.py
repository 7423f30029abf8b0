"""How far a long command is, on stderr: a moving line on a terminal, one line per stage else."""

import sys
import time
from types import TracebackType
from typing import Self, TextIO

_REDRAW_S = 0.1
_BAR = 24


class Stages:
    """Shows the stages of a build, each with its share done or the seconds it took.

    A context manager; leaving it ends the last stage.
    """

    def __init__(self, stream: TextIO | None = None) -> None:
        """Write to `stream`, by default to stderr."""
        self._stream = stream or sys.stderr
        self._moving = self._stream.isatty()
        self._stage = ""
        self._began = self._drawn = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._end(well=exc is None)

    def show(self, stage: str, done: float | None) -> None:
        """Tell that `stage` is under way; `done` is the share of it from 0 to 1, if known."""
        if stage != self._stage:
            self._end(well=True)
            self._stage = stage
            self._began = time.monotonic()
            self._draw(done)
        elif time.monotonic() - self._drawn >= _REDRAW_S:
            self._draw(done)

    def _draw(self, done: float | None) -> None:
        self._drawn = time.monotonic()
        if not self._moving:
            return
        filled = round((done or 0.0) * _BAR)
        share = "" if done is None else f"  [{'#' * filled}{'.' * (_BAR - filled)}] {done:4.0%}"
        self._stream.write(f"\r\x1b[K{self._stage}{share}")
        self._stream.flush()

    def _end(self, *, well: bool) -> None:
        if not self._stage:
            return
        start = "\r\x1b[K" if self._moving else ""
        end = f"{time.monotonic() - self._began:.1f} s" if well else "failed"
        self._stream.write(f"{start}{self._stage}: {end}\n")
        self._stream.flush()
        self._stage = ""
