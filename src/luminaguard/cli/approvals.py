"""`luminaguard approvals`: decide from this terminal what was asked in other processes."""

import json
import os
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from itertools import islice

import anyio
import click
from anyio import to_thread

from luminaguard.approval.card import DiffCard
from luminaguard.approval.desk.asked_secret import ask_prover, ask_secret
from luminaguard.approval.desk.client import Identity, RemoteDesk, find_desks
from luminaguard.approval.desk.desk import UNSEEN, Answer, Pending
from luminaguard.approval.desk.refusals import SecretWanted
from luminaguard.approval.desk.secret import SHORTEST_SECRET, enroll, enrolled
from luminaguard.approval.look import Look, look_of
from luminaguard.approval.plain import full
from luminaguard.approval.summary import summary_line
from luminaguard.config import Settings
from luminaguard.domain.approval import Decision, End
from luminaguard.domain.calls import JsonValue
from luminaguard.domain.verdict import Risk
from luminaguard.domain.visible import visible
from luminaguard.errors import ApprovalError

SHOWN_DIGITS = 12
SHORTEST_ID = 4
SHOWN_LINES = 500
"""Screen lines of a card that are shown before the secret is asked for; the rest is counted."""
LOOK_S = 5.0
"""Given to a process to tell what it asks; one that is stopped holds up the others no longer."""


@dataclass(frozen=True, slots=True)
class Found:
    """An open request and the desk it is open on."""

    desk: RemoteDesk
    pending: Pending

    def as_json(self) -> dict[str, JsonValue]:
        """Return the request without its card."""
        request, card = self.pending.request, self.pending.card
        return {
            "id": self.pending.digest[:SHOWN_DIGITS],
            "digest": self.pending.digest,
            "session_id": self.pending.session_id,
            "origin": self.pending.origin,
            "pid": self.desk.pid,
            "tool": card.call.tool,
            "risk": card.risk.value,
            "summary": summary_line(card.changeset),
            "opened_at": self.pending.opened_at.isoformat(),
            "expires_at": request.expires_at.isoformat(),
        }


json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
id_argument = click.argument("request_id", metavar="ID")
reason_option = click.option("--reason", default="", metavar="TEXT", help="Recorded, and told.")


@click.group()
def approvals() -> None:
    """See and decide what sessions with `--approver queue` ask, in any process of yours."""


@approvals.command("list")
@json_option
@click.pass_obj
def list_(settings: Settings, *, as_json: bool) -> None:
    """List open requests, oldest first."""
    found = anyio.run(_all_open, settings, Identity())
    if as_json:
        click.echo(json.dumps({"requests": [item.as_json() for item in found]}))
        return
    if not found:
        click.echo("nothing is waiting for a decision", err=True)
        return
    rows = [("id", "risk", "left", "tool", "asked by", "effect"), *map(_columns, found)]
    widths = [max(len(row[at]) for row in rows) for at in range(len(rows[0]) - 1)]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=False))
        click.echo("  ".join((*cells, row[-1])).rstrip())


@approvals.command()
@id_argument
@json_option
@click.pass_obj
def show(settings: Settings, *, request_id: str, as_json: bool) -> None:
    """Show one request's whole card. ID is the beginning of its number."""
    found = anyio.run(_one, settings, request_id, Identity())
    if as_json:
        card = found.pending.card.fields(None)
        click.echo(json.dumps({**found.as_json(), "card": card}))
        return
    for line in full(found.pending.card, _look(is_terminal=sys.stdout.isatty())):
        click.echo(line)


@approvals.command()
@id_argument
@reason_option
@click.option("--grant", default="", metavar="OFFER", help="Also remember it: exact, session, …")
@json_option
@click.pass_obj
def approve(settings: Settings, *, request_id: str, reason: str, grant: str, as_json: bool) -> None:
    """Approve one request: exactly what its card shows is committed.

    Asks for the approver secret on the terminal, unless the configuration that the session began
    with allows unattended use.
    """
    answer = Answer(end=End.APPROVED, reason=reason, grant=grant)
    _decide(settings, request_id, answer, as_json=as_json)


@approvals.command()
@id_argument
@reason_option
@json_option
@click.pass_obj
def reject(settings: Settings, *, request_id: str, reason: str, as_json: bool) -> None:
    """Reject one request: nothing of it happens. Needs no secret."""
    _decide(settings, request_id, Answer(end=End.REJECTED, reason=reason), as_json=as_json)


@approvals.command("enroll")
@click.pass_obj
def enroll_(settings: Settings) -> None:
    """Set, or change, the secret that approving from another process takes.

    It is typed on the terminal; a salted hash of it is kept. Sessions that run already keep to what
    was enrolled when they began.
    """
    earlier = enrolled(settings.state_dir)
    if earlier is not None:
        click.echo("A secret is enrolled already; to change it, type it first.", err=True)
        ask_prover(earlier)
    secret = ask_secret(f"New approver secret, at least {SHORTEST_SECRET} characters: ")
    if ask_secret("The same once more: ") != secret:
        raise ApprovalError("the two differ; nothing was changed")
    made = enroll(settings.state_dir, secret, at=datetime.now(UTC))
    click.echo(f"enrolled: key {made.fingerprint}, for sessions that begin from now on", err=True)


def _decide(settings: Settings, request_id: str, answer: Answer, *, as_json: bool) -> None:
    decision = anyio.run(_decided, settings, request_id, answer, not as_json)
    if as_json:
        click.echo(json.dumps({**decision.as_json(), "digest": decision.request_digest}))
    else:
        click.echo(f"{decision.end.value}: {decision.request_digest[:SHOWN_DIGITS]}", err=True)


async def _decided(
    settings: Settings, request_id: str, answer: Answer, show_card: bool
) -> Decision:
    """Answer one request, with a proof where one is wanted."""
    identity = Identity()
    found = await _one(settings, request_id, identity)
    digest = found.pending.digest
    answer = replace(answer, grant=_offered(found.pending.card, answer.grant))
    if show_card and answer.end is End.APPROVED:
        _show_before_asking(found.pending)
    try:
        return await found.desk.answer(digest, answer)
    except SecretWanted:
        enrollment = await to_thread.run_sync(enrolled, settings.state_dir)
        if enrollment is None:
            raise
    identity.prover = await to_thread.run_sync(ask_prover, enrollment)
    return await found.desk.answer(digest, answer)


def _offered(card: DiffCard, wanted: str) -> str:
    """Return the id of the card's offer that is wanted, by its id or its scope.

    Raises:
        ApprovalError: the card offers no such thing, or several.
    """
    if not wanted:
        return ""
    found = [item for item in card.offers if wanted in {item.offer_id, item.scope.value}]
    if len(found) == 1:
        return found[0].offer_id
    offered = ", ".join(visible(item.offer_id) for item in card.offers)
    raise ApprovalError(
        f"the card does not offer {visible(wanted)!r} to be remembered",
        hint=f"offered: {offered}" if offered else "it offers nothing: approve it just this once",
    )


def _show_before_asking(pending: Pending) -> None:
    """Print the card, all of a critical one; of others at most so many lines and a counter."""
    card = pending.card
    lines = full(card, _look(is_terminal=sys.stderr.isatty()))
    room = None if card.risk is Risk.CRITICAL else SHOWN_LINES
    for line in islice(lines, room):
        click.echo(line, err=True)
    left = sum(1 for _ in lines)
    if left:
        all_of_it = f"luminaguard approvals show {pending.digest[:SHOWN_DIGITS]}"
        click.echo(f"... {left:,} more lines: {all_of_it}", err=True)


async def _one(settings: Settings, request_id: str, identity: Identity) -> Found:
    """Return the open request whose number begins so.

    Raises:
        ApprovalError: there is none, or more than one.
    """
    wanted = request_id.lower()
    if len(wanted) < SHORTEST_ID:
        raise ApprovalError(f"{visible(request_id)!r} is too short: {SHORTEST_ID} digits at least")
    everything = await _all_open(settings, identity)
    found = [item for item in everything if item.pending.digest.startswith(wanted)]
    if not found:
        raise ApprovalError(
            f"no request {visible(request_id)} is open",
            hint="`luminaguard approvals list` shows what is; `luminaguard audit list --kind "
            "approval.decided`, how others ended",
        )
    if len(found) > 1:
        raise ApprovalError(
            f"{len(found)} requests begin with {visible(request_id)}", hint="give more digits"
        )
    return found[0]


async def _all_open(settings: Settings, identity: Identity) -> list[Found]:
    """Return what is open in all processes; those that do not tell are named on standard error."""
    desks = await to_thread.run_sync(partial(find_desks, settings.runtime_dir, identity))
    for desk in desks:
        told = False
        try:
            with anyio.move_on_after(LOOK_S):
                await desk.wait_for_change(UNSEEN)
                told = True
        except ApprovalError as error:
            click.echo(f"luminaguard: process {desk.pid}: {error}", err=True)
            continue
        if not told:
            click.echo(f"luminaguard: process {desk.pid} does not reply", err=True)
        for digest, why in desk.unshown.items():
            short = digest[:SHOWN_DIGITS]
            click.echo(f"luminaguard: request {short} of process {desk.pid}: {why}", err=True)
    found = [Found(desk, pending) for desk in desks for pending in desk.pending()]
    return sorted(found, key=lambda item: item.pending.opened_at)


def _columns(found: Found) -> Sequence[str]:
    card, pending = found.pending.card, found.pending
    left_s = (pending.request.expires_at - datetime.now(UTC)).total_seconds()
    cells = (
        pending.digest[:SHOWN_DIGITS],
        card.risk.value,
        f"{max(0, round(left_s))} s",
        card.call.tool,
        pending.origin,
        summary_line(card.changeset),
    )
    return tuple(visible(cell) for cell in cells)


def _look(*, is_terminal: bool) -> Look:
    environ = dict(os.environ) if is_terminal else {**os.environ, "NO_COLOR": "1"}
    columns, rows = shutil.get_terminal_size()
    return look_of(environ, columns=columns, rows=rows)
