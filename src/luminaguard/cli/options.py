"""Options that several commands share."""

from dataclasses import replace
from pathlib import Path

import click

from luminaguard.config import APPROVERS, Settings

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
    help="Who decides: you on the terminal, in lines of text (tty) or on a full screen (tui), you "
    "in another terminal with `luminaguard approvals` or `luminaguard tui` (queue), nobody and "
    "nothing is committed (deny), or nobody and everything is "
    "(all).  [default: tty on a terminal, else deny]",
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

backend_option = click.option(
    "--backend",
    metavar="NAME",
    help="Make machines with this backend, or any of this tier, and with nothing else.  "
    "[default: by the configuration's vm.isolation]",
)


def on_backend(settings: Settings, backend: str | None) -> Settings:
    """Return the settings with only this backend allowed, if one was named."""
    if backend is None:
        return settings
    return replace(settings, vm=replace(settings.vm, isolation=(backend,)))
