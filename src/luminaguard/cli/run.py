"""`luminaguard run`: an agent on a task, every call through the guard."""

import sys
from pathlib import Path

import anyio
import click

from luminaguard.agent.estimate import Estimate, estimate
from luminaguard.agent.loop import Run, Stop
from luminaguard.agent.wording import system_prompt
from luminaguard.audit.costs import spent
from luminaguard.audit.query import Query
from luminaguard.audit.reader import AuditReader
from luminaguard.audit.records import RecordKind
from luminaguard.cli.exits import FAILED
from luminaguard.cli.interrupts import interrupts
from luminaguard.cli.narrator import Narrator
from luminaguard.cli.work import Work, print_json, run_json, work_options, working
from luminaguard.config import Settings
from luminaguard.domain.visible import visible
from luminaguard.errors import AuditError, ModelError
from luminaguard.llm.model import ChatModel
from luminaguard.llm.usage import Usage
from luminaguard.tools.toolbox import Toolbox, agent_tools


@click.command()
@work_options
@click.option(
    "--estimate", "only_estimate", is_flag=True, help="Say what it may cost; run nothing."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object and nothing else.")
@click.argument("task")
def run(work: Work, *, only_estimate: bool, as_json: bool, task: str) -> None:
    """Let an agent work on TASK in a disposable micro-VM; each risky effect is asked about."""
    if only_estimate:
        _print_estimate(work, task, as_json=as_json)
        return

    async def finish() -> tuple[Run, Path]:
        async with (
            working(work, Narrator(quiet=as_json)) as (agent, session),
            interrupts(session.interrupt),
        ):
            try:
                return await agent.run(task), agent.transcript.path
            except ModelError as error:
                raise _with_transcript(error, agent.transcript.path) from error

    finished, transcript = anyio.run(finish)
    if as_json:
        print_json(run_json(finished, work.model, transcript))
    else:
        ending = f"{finished.stop.value}; {finished.usage.text}; transcript: {transcript}"
        click.echo(ending, err=True)
    sys.exit(0 if finished.stop is Stop.FINISHED else FAILED)


def _with_transcript(error: ModelError, transcript: Path) -> ModelError:
    """Say with the error that nothing is lost, and how to go on."""
    hint = f"{error.hint}; " if error.hint else ""
    told = type(error)(
        str(error), hint=f"{hint}go on with: luminaguard run --resume {transcript.stem} TASK"
    )
    told.context.update(error.context)
    return told


def _print_estimate(work: Work, task: str, *, as_json: bool) -> None:
    settings, model = work.settings, work.model
    prompt = system_prompt(str(work.workspace.resolve()), settings.model.prompt_file)
    tools = Toolbox(agent_tools()).specs
    found = estimate(task, prompt, tools, model, _earlier(settings, model))
    if as_json:
        print_json(_estimate_json(found, model))
        return
    click.echo(f"{visible(model.name)}: first request about {found.first_request_tokens:,} tokens")
    for size in ("small", "middling", "large"):
        usage: Usage = getattr(found, size)
        click.echo(f"  if the task is {size:<9} {usage.text}")
    click.echo(f"by {found.basis}")


def _earlier(settings: Settings, model: ChatModel) -> list[Usage]:
    """Return what earlier runs with this model used; nothing where there is no record."""
    try:
        found = AuditReader(settings.state_dir).find(Query(kind=RecordKind.MODEL_REPLIED, limit=0))
    except AuditError:
        return []
    return [
        Usage(input_tokens=used.input_tokens, output_tokens=used.output_tokens)
        for used in spent(found)
        if used.model == model.name
    ]


def _estimate_json(found: Estimate, model: ChatModel) -> dict[str, object]:
    return {
        "model": model.name,
        "first_request_tokens": found.first_request_tokens,
        "small": found.small.as_json(),
        "middling": found.middling.as_json(),
        "large": found.large.as_json(),
        "basis": found.basis,
    }
