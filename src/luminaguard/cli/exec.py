"""`luminaguard exec`: one command, the same guard as an agent's calls, no model."""

import os
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import click
from anyio import to_thread

from luminaguard.backends import choose
from luminaguard.cli.exits import exit_code
from luminaguard.cli.interrupts import interrupts
from luminaguard.cli.options import (
    approval_timeout_option,
    approver_option,
    backend_option,
    include_option,
    on_backend,
    workspace_option,
)
from luminaguard.cli.present import print_failure, print_json, print_text
from luminaguard.cli.screens import Deciding, deciding
from luminaguard.config import Settings
from luminaguard.domain.outcome import Outcome
from luminaguard.errors import ConfigError, LuminaGuardError
from luminaguard.machines import machine_spec
from luminaguard.vm.ahead import started_ahead
from luminaguard.vm.direct import DirectSource
from luminaguard.vm.source import MachineSource
from luminaguard.vm.spec import VmSpec

if TYPE_CHECKING:
    from luminaguard.runtime import Session


@click.command(name="exec", context_settings={"ignore_unknown_options": False})
@workspace_option
@approver_option
@include_option
@backend_option
@click.option(
    "--timeout",
    "timeout_s",
    type=click.FloatRange(min=0.001),
    default=600.0,
    show_default=True,
    metavar="S",
    help="Seconds until the command is killed.",
)
@approval_timeout_option
@click.option(
    "--env",
    "env_names",
    multiple=True,
    metavar="NAME",
    help="Pass this variable of yours into the guest; nothing else gets in.",
)
@click.option(
    "-i",
    "--stdin",
    "with_stdin",
    is_flag=True,
    help="Read standard input to its end and pass it to the command.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object and nothing else.")
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
@click.pass_obj
def exec_(
    settings: Settings,
    *,
    workspace: Path,
    approver: str | None,
    include: tuple[str, ...],
    backend: str | None,
    timeout_s: float,
    approval_timeout_s: float | None,
    env_names: tuple[str, ...],
    with_stdin: bool,
    as_json: bool,
    command: tuple[str, ...],
) -> None:
    """Run COMMAND in a disposable micro-VM and commit its effect once it is approved.

    Exit codes: the command's own; 124 timed out, 125 LuminaGuard failed, 126 not approved or
    denied.
    """
    settings = on_backend(settings, backend)
    env = _from_environment(env_names)
    stdin = sys.stdin.buffer.read() if with_stdin else b""

    def session(machines: MachineSource, who: Deciding) -> "Session":
        from luminaguard.runtime import Session  # noqa: PLC0415 - takes as long as a machine's start

        return Session(
            workspace,
            approver=who.approver,
            settings=settings,
            machines=machines,
            include=include,
            approval_timeout_s=approval_timeout_s,
            notice=who.notice,
            command_timeout_s=timeout_s,
            env=env,
            stdin=stdin,
        )

    try:
        outcome = anyio.run(_one_command, settings, workspace, approver, session, command)
    except LuminaGuardError as error:
        if as_json:
            print_failure(error)
        raise
    (print_json if as_json else print_text)(outcome)
    sys.exit(exit_code(outcome))


async def _one_command(
    settings: Settings,
    workspace: Path,
    approver: str | None,
    new_session: Callable[[MachineSource, Deciding], "Session"],
    command: tuple[str, ...],
) -> Outcome:
    """Have the machine started beside the imports that everything else needs."""
    chosen = await choose(settings, lambda: _spec(settings, workspace).image)
    with closing(chosen) as hypervisor:
        source = DirectSource(hypervisor, lambda: _spec(settings, workspace))
        opened: list[Session] = []
        early: list[bool] = []

        def interrupt() -> None:
            early.append(True)
            for session in opened:
                session.interrupt()

        async with (
            interrupts(interrupt),
            started_ahead(source) as machines,
            deciding(approver, settings=settings, workspace=workspace) as who,
        ):
            session = await to_thread.run_sync(new_session, machines, who)
            who.bind(session)
            async with session:
                opened.append(session)
                if early:
                    session.interrupt()
                return await session.exec(command)


def _spec(settings: Settings, workspace: Path) -> VmSpec:
    return machine_spec(settings, settings.image_for(workspace.resolve()))


def _from_environment(names: tuple[str, ...]) -> dict[str, str]:
    missing = [name for name in names if name not in os.environ]
    if missing:
        raise ConfigError(f"--env {missing[0]}: no such variable in your environment")
    return {name: os.environ[name] for name in names}
