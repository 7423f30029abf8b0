"""`luminaguard tui`: the open questions of all running sessions, and what they do."""

import sys

import anyio
import click

from luminaguard.cli.screens import pool_text
from luminaguard.config import Settings
from luminaguard.vm.pool.publish import published_pools


@click.command()
@click.pass_obj
def tui(settings: Settings) -> None:
    """Look at every open question of your running sessions, and answer.

    Attaches to `run` and `exec` with --approver queue or tui, those that are started later
    included. Approving asks for the approver secret once (`luminaguard approvals enroll`).
    Leaving, or losing the terminal, decides nothing.
    """
    from luminaguard.tui.attached import look_at_all  # noqa: PLC0415 - heavy

    def pools() -> str:
        texts = [pool_text(one.metrics) for one in published_pools(settings.runtime_dir)]
        return "; ".join(texts)

    why = anyio.run(
        lambda: look_at_all(
            state_dir=settings.state_dir, runtime_dir=settings.runtime_dir, pool_text=pools
        )
    )
    if why:
        click.echo(f"luminaguard: {why}; nothing was decided by that", err=True)
        sys.exit(1)
