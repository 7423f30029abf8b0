"""Everything of a card, page by page: in the user's pager, or in one of our own."""

import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import islice

from luminaguard.approval.terminal import Terminal, open_for_program

_WAIT_S = 0.2
"""How often an idle pager is looked after."""
_END_LIMIT_S = 2.0
LONGEST_PAUSE_S = 3600.0


def pager_command(environ: Mapping[str, str]) -> list[str]:
    """Return the pager's command line: `$PAGER`, else less; empty when there is none."""
    for choice in (environ.get("PAGER", ""), "less"):
        with suppress(ValueError):  # unbalanced quotes in the variable
            words = shlex.split(choice)
            if words and shutil.which(words[0], path=environ.get("PATH")):
                return words
    return []


def keeps_colors(command: Sequence[str]) -> bool:
    """Return whether a pager is known to pass colors on."""
    return os.path.basename(command[0]) == "less"


def run_pager(
    command: Sequence[str],
    lines: Iterable[str],
    *,
    terminal: Terminal,
    path: str,
    environ: Mapping[str, str],
) -> None:
    """Show lines in a pager until it ends; it is ended when the time is up.

    Less runs in its secure mode, in which it starts no shell, editor or preprocessor.
    Source: less(1), SECURITY.

    Args:
        command: The pager's command line; no shell is involved.
        lines: What to show; taken as the pager reads.
        terminal: Watched for time and wake-up while the pager runs.
        path: The terminal that the pager draws on.
        environ: The pager's environment.
    """
    hidden = {"LESSOPEN", "LESSCLOSE"}
    settings = {name: value for name, value in environ.items() if name not in hidden}
    settings |= {"LESSSECURE": "1", "LESS": f"{environ.get('LESS', '')} -R".strip()}
    screen = open_for_program(path)
    try:
        program = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=screen, stderr=screen, env=settings, bufsize=0
        )
    finally:
        os.close(screen)
    try:
        _feed(program, lines, terminal)
    finally:
        _end(program)


def _feed(program: subprocess.Popen[bytes], lines: Iterable[str], terminal: Terminal) -> None:
    pipe = program.stdin
    if pipe is None:  # never with stdin=PIPE
        return
    if sys.platform != "win32":
        os.set_blocking(pipe.fileno(), False)
    blocks = _blocks(lines)
    pending = memoryview(b"")
    while program.poll() is None:
        if pipe.closed:
            terminal.wait(at_most_s=_WAIT_S)
            continue
        pending = pending or memoryview(next(blocks, b""))
        if not pending:
            pipe.close()
        elif terminal.wait(to_write=pipe.fileno(), at_most_s=_WAIT_S):
            try:
                pending = pending[os.write(pipe.fileno(), pending) :]
            except BlockingIOError:
                continue
            except BrokenPipeError:
                pipe.close()


def _blocks(lines: Iterable[str]) -> Iterator[bytes]:
    pending = iter(lines)
    while block := list(islice(pending, 100)):
        yield "".join(f"{line}\n" for line in block).encode("utf-8", "backslashreplace")


def _end(program: subprocess.Popen[bytes]) -> None:
    if program.stdin is not None and not program.stdin.closed:
        with suppress(OSError):
            program.stdin.close()
    if program.poll() is None:
        program.terminate()
    try:
        program.wait(_END_LIMIT_S)
    except subprocess.TimeoutExpired:
        program.kill()
        program.wait()


def page_by_page(lines: Iterable[str], terminal: Terminal) -> None:
    """Show lines one screen at a time: any key for the next, `q` to leave."""
    pending = iter(lines)
    shown = 0
    while page := list(islice(pending, max(1, terminal.size()[1] - 1))):
        shown += len(page)
        terminal.write("".join(f"{line}\n" for line in page))
        terminal.write(f"-- {shown:,} lines shown; any key: next page, q: back --")
        typed = terminal.read(LONGEST_PAUSE_S)
        terminal.write("\n")
        if typed[:1] in {b"q", b"\x03", b"\x04", b"\x1b"}:
            return
