"""The `luminaguard` command: finds the sub-command, loads settings, maps errors to exit codes."""

import atexit
import gc
import importlib
import os
import sys

import click

from luminaguard.cli.exits import FAILED
from luminaguard.errors import LuminaGuardError

COMMANDS = {
    "approvals": "luminaguard.cli.approvals:approvals",
    "audit": "luminaguard.cli.audit:audit",
    "bench": "luminaguard.cli.bench:bench",
    "check": "luminaguard.cli.check:check",
    "config": "luminaguard.cli.config:config",
    "doctor": "luminaguard.cli.doctor:doctor",
    "chat": "luminaguard.cli.chat:chat",
    "exec": "luminaguard.cli.exec:exec_",
    "grants": "luminaguard.cli.grants:grants",
    "image": "luminaguard.cli.image:image",
    "mcp": "luminaguard.cli.mcp:mcp",
    "policy": "luminaguard.cli.policy:policy",
    "pool": "luminaguard.cli.pool:pool",
    "recover": "luminaguard.cli.recover:recover",
    "run": "luminaguard.cli.run:run",
    "tui": "luminaguard.cli.tui:tui",
}
"""Name → where it lives. Only the one that is called is imported: start-up time is a feature."""


class LazyGroup(click.Group):
    """Imports a sub-command when it is called, not before."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return all names, sorted."""
        return sorted(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return one command."""
        if cmd_name not in COMMANDS:
            return None
        module, _, attribute = COMMANDS[cmd_name].partition(":")
        command = getattr(importlib.import_module(module), attribute)
        return command if isinstance(command, click.Command) else None


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="luminaguard")
@click.pass_context
def cli(ctx: click.Context) -> None:
    """Rehearse an agent's work in a disposable micro-VM, read its effect, approve, commit."""
    from luminaguard.config import load  # noqa: PLC0415 - not needed for --help and --version

    ctx.obj = load()


def main() -> None:
    """Run the command line; the console script's entry point."""
    # The interpreter's last collections would walk everything that was imported: 40 ms for nothing.
    atexit.register(gc.freeze)
    try:
        code: object = cli.main(standalone_mode=False)
    except click.exceptions.Abort:
        click.echo("interrupted", err=True)
        sys.exit(FAILED)
    except click.ClickException as error:
        error.show()
        sys.exit(FAILED)
    except LuminaGuardError as error:
        complain(error)
        sys.exit(FAILED)
    except Exception as defect:
        click.echo(f"luminaguard: defect: {type(defect).__name__}: {defect}", err=True)
        if os.environ.get("LUMINAGUARD_DEBUG"):
            raise
        click.echo("  hint: set LUMINAGUARD_DEBUG=1 to see where, and report it", err=True)
        sys.exit(FAILED)
    sys.exit(code if isinstance(code, int) else 0)


def complain(error: LuminaGuardError) -> None:
    """Say on standard error what is wrong and what mends it."""
    click.echo(f"luminaguard: {error}", err=True)
    if error.hint:
        click.echo(f"  hint: {error.hint}", err=True)
