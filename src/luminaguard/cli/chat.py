"""`luminaguard chat`: several turns with an agent over one session."""

import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module

import anyio
import click
from anyio import to_thread

from luminaguard.agent.loop import Agent, Stop
from luminaguard.cli.exits import FAILED
from luminaguard.cli.interrupts import interrupts
from luminaguard.cli.narrator import Narrator
from luminaguard.cli.work import Work, work_options, working
from luminaguard.domain.visible import visible
from luminaguard.errors import ApprovalError, ModelError

_HELP = "An empty line, /quit or Ctrl-D ends the chat; /cost says what it has used so far."


@click.command()
@work_options
def chat(work: Work) -> None:
    """Talk with an agent that works in a disposable micro-VM; each risky effect is asked about."""
    if work.approver == "tui":
        raise ApprovalError(
            "the chat needs the terminal that a full screen would take",
            hint="--approver tty, or --approver queue and `luminaguard tui` in another terminal",
        )

    async def talk() -> int:
        async with working(work, Narrator()) as (agent, session):
            click.echo(f"{visible(work.model.name)}. {_HELP}", err=True)
            listener = _Listener(session.interrupt)
            async with interrupts(listener.interrupt):
                return await _talk(agent, listener)

    sys.exit(anyio.run(talk))


@dataclass(slots=True)
class _Listener:
    """Waits for what the user says. Ctrl-C then ends the chat, and else what the agent does."""

    interrupt_work: Callable[[], None]
    _scope: anyio.CancelScope | None = None

    def interrupt(self) -> None:
        """Stop waiting, or stop the agent."""
        if self._scope is not None:
            self._scope.cancel()
        else:
            self.interrupt_work()

    async def next_line(self) -> str | None:
        """Return what the user says next; None at the end."""
        said: str | None = None
        try:
            with anyio.CancelScope() as self._scope:
                said = await to_thread.run_sync(_read_line, abandon_on_cancel=True)
        finally:
            self._scope = None
        return said


async def _talk(agent: Agent, listener: _Listener) -> int:
    while (said := await listener.next_line()) is not None:
        if said == "/cost":
            click.echo(agent.usage.text, err=True)
        elif not await _turn(agent, said):
            return FAILED
    click.echo(f"{agent.usage.text}; transcript: {agent.transcript.path}", err=True)
    return 0


async def _turn(agent: Agent, said: str) -> bool:
    """Work on what the user said; return whether the chat can go on."""
    try:
        finished = await agent.run(said)
    except ModelError as error:
        click.echo(f"{visible(str(error))}" + (f" ({error.hint})" if error.hint else ""), err=True)
        return True
    if finished.stop not in {Stop.FINISHED, Stop.INTERRUPTED}:
        click.echo(finished.stop.value, err=True)
    return finished.stop is not Stop.UNKNOWN


def _read_line() -> str | None:
    """Read what the user says; on a terminal with line editing and the history of this chat."""
    try:
        if sys.stdin.isatty():
            with suppress(ImportError):
                import_module("readline")  # `input` uses it once it is there
            line = input("> ")
        else:
            line = sys.stdin.readline()
    except EOFError:
        return None
    said = line.strip()
    return said if said and said != "/quit" else None
