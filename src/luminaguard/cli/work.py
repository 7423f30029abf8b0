"""What `run` and `chat` share: a model, a fleet, a session, and how far the agent may go."""

import json
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from decimal import Decimal
from functools import wraps
from pathlib import Path

import click

from luminaguard.agent.limits import Limits
from luminaguard.agent.loop import Agent, Run
from luminaguard.agent.ports import Observer
from luminaguard.agent.transcript import find_transcript
from luminaguard.cli.options import (
    approval_timeout_option,
    approver_option,
    backend_option,
    include_option,
    on_backend,
    workspace_option,
)
from luminaguard.cli.present import notice, outcome_json
from luminaguard.cli.screens import deciding, pool_text
from luminaguard.config import Settings
from luminaguard.fleet import Fleet
from luminaguard.llm.choose import choose_model
from luminaguard.llm.model import ChatModel
from luminaguard.runtime import Session

model_option = click.option(
    "--model",
    "model_name",
    metavar="M",
    help="'anthropic:…', 'openai:…', 'google:…', 'mistral:…', 'ollama:…', 'llamacpp:…', the URL "
    "of an OpenAI-compatible server, or 'scripted:FILE'.  [default: by the configuration]",
)
resume_option = click.option(
    "--resume", metavar="ID", help="Go on with an earlier run: its session's id, or how it begins."
)


_LIMIT_OPTIONS = (
    click.option(
        "--max-steps",
        type=click.IntRange(min=1),
        default=Limits().steps,
        show_default=True,
        help="Model replies until the agent is stopped.",
    ),
    click.option(
        "--max-tokens",
        type=click.IntRange(min=1),
        default=Limits().tokens,
        show_default=True,
        help="Tokens sent and received until the agent is stopped.",
    ),
    click.option(
        "--max-cost",
        type=click.FloatRange(min=0, min_open=True),
        metavar="USD",
        help="US dollars until the agent is stopped; needs a model whose price is known.",
    ),
)
_OPTIONS = (
    workspace_option,
    approver_option,
    include_option,
    backend_option,
    model_option,
    approval_timeout_option,
    *_LIMIT_OPTIONS,
    resume_option,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """What the user chose on the command line."""

    settings: Settings
    model: ChatModel
    workspace: Path
    approver: str | None
    include: tuple[str, ...]
    approval_timeout_s: float | None
    limits: Limits
    resume: str | None


def work_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options that `run` and `chat` share; the command is given them as one `Work`."""

    @click.pass_obj
    @wraps(command)
    def with_work(
        settings: Settings,
        *,
        workspace: Path,
        approver: str | None,
        include: tuple[str, ...],
        backend: str | None,
        model_name: str | None,
        approval_timeout_s: float | None,
        max_steps: int,
        max_tokens: int,
        max_cost: float | None,
        resume: str | None,
        **own: object,
    ) -> None:
        settings = on_backend(settings, backend)
        work = Work(
            settings=settings,
            model=_chosen_model(settings, model_name),
            workspace=workspace,
            approver=approver,
            include=include,
            approval_timeout_s=approval_timeout_s,
            limits=_chosen_limits(settings, max_steps, max_tokens, max_cost),
            resume=resume,
        )
        command(work, **own)

    found: Callable[..., None] = with_work
    for option in reversed(_OPTIONS):
        found = option(found)
    return found


def _chosen_model(settings: Settings, name: str | None) -> ChatModel:
    """Return the model of the command line, or else of the environment or the configuration."""
    chosen = settings.model if name is None else replace(settings.model, name=name)
    return choose_model(chosen, settings.providers, notice=notice)


def _chosen_limits(
    settings: Settings, max_steps: int, max_tokens: int, max_cost: float | None
) -> Limits:
    """Return the limits of the command line over those of the configuration."""
    cost = max_cost if max_cost is not None else settings.model.max_cost_usd or None
    return Limits(
        steps=max_steps, tokens=max_tokens, cost_usd=None if cost is None else Decimal(str(cost))
    )


@asynccontextmanager
async def working(work: Work, narrator: Observer) -> AsyncGenerator[tuple[Agent, Session]]:
    """Open everything that an agent needs. `narrator` is told the story unless a screen is."""
    settings, model = work.settings, work.model
    image = settings.image_for(work.workspace.resolve())
    saved = (
        find_transcript(settings.state_dir / "transcripts", work.resume) if work.resume else None
    )
    async with (
        _closing(model),
        Fleet(settings=_with_one_spare(settings), image=image) as fleet,
        deciding(work.approver, settings=settings, workspace=work.workspace) as who,
    ):
        who.show_pool(lambda: pool_text(fleet.machines.metrics().as_json()))
        session = Session(
            work.workspace,
            approver=who.approver,
            settings=settings,
            machines=fleet.machines,
            log=fleet.log,
            include=work.include,
            approval_timeout_s=work.approval_timeout_s,
            notice=who.notice,
        )
        who.bind(session)
        observer = who.observer or narrator
        async with (
            session,
            session.agent(
                model=model, observer=observer, limits=work.limits, resume=saved
            ) as agent,
        ):
            who.show_cost(lambda: agent.usage.text if agent.usage.tokens else "")
            yield agent, session


@asynccontextmanager
async def _closing(model: ChatModel) -> AsyncGenerator[None]:
    try:
        yield
    finally:
        await model.close()


def run_json(finished: Run, model: ChatModel, transcript: Path) -> Mapping[str, object]:
    """Return a run as `--json` prints it."""
    return {
        "stop": finished.stop.name.lower(),
        "answer": finished.answer,
        "model": model.name,
        "usage": finished.usage.as_json(),
        "calls": [
            {"tool": outcome.call.tool, "arguments": dict(outcome.call.arguments)}
            | outcome_json(outcome)
            for outcome in finished.outcomes
        ],
        "transcript": str(transcript),
    }


def print_json(fields: Mapping[str, object]) -> None:
    """Print one object on a line."""
    click.echo(json.dumps(fields))


def _with_one_spare(settings: Settings) -> Settings:
    """A single session uses one machine after the other: more than one in store is waste."""
    return replace(settings, pool=replace(settings.pool, size=min(settings.pool.size, 1)))
