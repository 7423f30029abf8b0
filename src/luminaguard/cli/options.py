"""Options that several commands share."""

from pathlib import Path

import click

APPROVERS = ("tty", "deny", "all")

workspace_option = click.option(
    "-w",
    "--workspace",
    type=click.Path(path_type=Path),
    default=Path(),
    metavar="DIR",
    help="The project.  [default: the current directory]",
)

approver_option = click.option(
    "--approver",
    type=click.Choice(APPROVERS),
    help="Who decides: you on the terminal, nobody (nothing is committed), or nobody and "
    "everything is approved.  [default: tty on a terminal, else deny]",
)

include_option = click.option(
    "--include",
    multiple=True,
    metavar="PATTERN",
    help="Also send, and take back, what ignore rules or the secret list leave out.",
)

approval_timeout_option = click.option(
    "--approval-timeout",
    "approval_timeout_s",
    type=click.FloatRange(min=0.001),
    metavar="S",
    help="Seconds until a request expires.  [default: 300]",
)
