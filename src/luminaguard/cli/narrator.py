"""Tells on standard error what the agent does, as it does it."""

import json

import click

from luminaguard.cli.present import outcome_line
from luminaguard.domain.calls import ToolCall
from luminaguard.domain.outcome import Outcome, OutcomeKind
from luminaguard.domain.visible import visible
from luminaguard.llm.model import Reply

ROOM = 60
"""Characters of an argument that are shown; the rest is counted."""


class Narrator:
    """An observer for plain terminals and logs."""

    def __init__(self, *, quiet: bool = False) -> None:
        self._quiet = quiet
        self._in_line = False

    def saying(self, piece: str) -> None:
        """Print a piece of the model's text."""
        if not self._quiet and piece:
            shown = visible(piece, keep_newlines=True)
            click.echo(click.style(shown, bold=True), err=True, nl=False)
            self._in_line = not piece.endswith("\n")

    def said(self, reply: Reply) -> None:
        """End the line of the model's text."""
        del reply
        if self._in_line:
            self._print("")
            self._in_line = False

    def calling(self, call: ToolCall) -> None:
        """Print the call that is about to be judged."""
        arguments = ", ".join(f"{name}={_short(value)}" for name, value in call.arguments.items())
        self._print(f"  → {visible(call.tool)}({arguments})")

    def ended(self, outcome: Outcome) -> None:
        """Print the end of a call in one line."""
        report = outcome.report
        line = outcome_line(outcome)
        if not line and report is not None:
            code = report.exit_code
            line = f"exit code {code}, no effect on your files"
        mark = "✓" if outcome.kind in {OutcomeKind.EXECUTED, OutcomeKind.COMMITTED} else "✗"
        self._print(f"  {mark} {line}")

    def _print(self, text: str) -> None:
        if not self._quiet:
            click.echo(text, err=True)


def _short(value: object) -> str:
    """Return a value on one line, with a counter for what does not fit."""
    text = visible(value) if isinstance(value, str) else visible(json.dumps(value))
    return text if len(text) <= ROOM else f"{text[:ROOM]}… ({len(text) - ROOM} more characters)"
