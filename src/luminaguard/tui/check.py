"""Whether a screen can be drawn at all; if not, what to do instead."""

import os
from collections.abc import Mapping

from luminaguard.approval.terminal import open_unblocking
from luminaguard.errors import ApprovalError


def check_terminal(environ: Mapping[str, str], *, path: str) -> None:
    """Return only if there is a terminal that can place text.

    Raises:
        ApprovalError: there is none, or it can only print lines.
    """
    os.close(open_unblocking(path))
    if environ.get("TERM", "") in {"", "dumb", "unknown"}:
        raise ApprovalError(
            f"TERM is {environ.get('TERM') or 'not set'}: no screen can be drawn on that terminal",
            hint="use --approver tty, which needs nothing but lines of text",
        )
