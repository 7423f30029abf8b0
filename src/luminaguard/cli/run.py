"""`luminaguard run`: an agent on a task, every call through the guard."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import anyio
import click

from luminaguard.agent.limits import Limits
from luminaguard.agent.loop import Run, Stop
from luminaguard.cli.exits import FAILED
from luminaguard.cli.interrupts import interrupts
from luminaguard.cli.options import (
    approval_timeout_option,
    approver_option,
    backend_option,
    include_option,
    on_backend,
    workspace_option,
)
from luminaguard.cli.present import outcome_json, outcome_line
from luminaguard.cli.screens import deciding, pool_text
from luminaguard.config import Settings
from luminaguard.domain.calls import ToolCall
from luminaguard.domain.outcome import Outcome, OutcomeKind
from luminaguard.domain.visible import visible
from luminaguard.fleet import Fleet
from luminaguard.llm.choose import choose_model
from luminaguard.llm.model import ChatModel
from luminaguard.runtime import Session


@click.command()
@workspace_option
@approver_option
@include_option
@backend_option
@click.option(
    "--model",
    "model_name",
    default="scripted",
    show_default=True,
    metavar="M",
    help="'scripted', or 'scripted:FILE' for a script of your own.",
)
@approval_timeout_option
@click.option(
    "--max-steps",
    type=click.IntRange(min=1),
    default=Limits().steps,
    show_default=True,
    help="Model replies until the agent is stopped.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object and nothing else.")
@click.argument("task")
@click.pass_obj
def run(
    settings: Settings,
    *,
    workspace: Path,
    approver: str | None,
    include: tuple[str, ...],
    backend: str | None,
    model_name: str,
    approval_timeout_s: float | None,
    max_steps: int,
    as_json: bool,
    task: str,
) -> None:
    """Let an agent work on TASK in a disposable micro-VM; each risky effect is asked about."""
    settings = on_backend(settings, backend)
    model = choose_model(model_name)
    image = settings.image_for(workspace.resolve())
    screen = Narrator(quiet=as_json)

    async def work() -> tuple[Run, Path]:
        async with (
            Fleet(settings=_with_one_spare(settings), image=image) as fleet,
            deciding(approver, settings=settings, workspace=workspace) as who,
        ):
            who.show_pool(lambda: pool_text(fleet.machines.metrics().as_json()))
            session = Session(
                workspace,
                approver=who.approver,
                settings=settings,
                machines=fleet.machines,
                log=fleet.log,
                include=include,
                approval_timeout_s=approval_timeout_s,
                notice=who.notice,
            )
            who.bind(session)
            async with session, interrupts(session.interrupt):
                limits = Limits(steps=max_steps)
                observer = who.observer or screen
                run = await session.run(task, model=model, limits=limits, observer=observer)
            return run, session.transcript_path

    finished, transcript = anyio.run(work)
    if as_json:
        click.echo(json.dumps(_run_json(finished, model, transcript)))
    else:
        click.echo(f"{finished.stop.value}; transcript: {transcript}", err=True)
    sys.exit(0 if finished.stop is Stop.FINISHED else FAILED)


def _with_one_spare(settings: Settings) -> Settings:
    """A single session uses one machine after the other: more than one in store is waste."""
    return replace(settings, pool=replace(settings.pool, size=min(settings.pool.size, 1)))


class Narrator:
    """Tells on standard error what the agent does, as it does it."""

    def __init__(self, *, quiet: bool = False) -> None:
        self._quiet = quiet

    def said(self, text: str) -> None:
        """Print what the model said."""
        if text:
            self._print(click.style(visible(text, keep_newlines=True), bold=True))

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
    room = 60
    return text if len(text) <= room else f"{text[:room]}… ({len(text) - room} more characters)"


def _run_json(finished: Run, model: ChatModel, transcript: Path) -> dict[str, object]:
    return {
        "stop": finished.stop.name.lower(),
        "answer": finished.answer,
        "model": model.name,
        "calls": [
            {"tool": outcome.call.tool, "arguments": dict(outcome.call.arguments)}
            | outcome_json(outcome)
            for outcome in finished.outcomes
        ],
        "transcript": str(transcript),
    }
