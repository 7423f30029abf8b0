"""`luminaguard grants`: what was approved for later, and taking it back."""

import json
from datetime import datetime

import click

from luminaguard.approval.approvers import utc_now
from luminaguard.cli.explain import wrapped
from luminaguard.config import Settings
from luminaguard.domain.visible import visible
from luminaguard.errors import PolicyError
from luminaguard.policy.grants.book import GrantBook
from luminaguard.policy.grants.grant import Grant


@click.group()
def grants() -> None:
    """See and take back remembered approvals."""


@grants.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object and nothing else.")
@click.pass_obj
def list_(settings: Settings, *, as_json: bool) -> None:
    """List the grants that hold now, in every session."""
    book = _book(settings)
    held = book.all()
    if as_json:
        problem = book.problem or None
        click.echo(json.dumps({"grants": [g.as_json() for g in held], "problem": problem}))
        return
    if not held:
        click.echo("no grants: every call in the red lane is asked about")
    for grant in held:
        click.echo(visible(f"{grant.grant_id}  {_left(grant, book.now())}"))
        for line in wrapped(visible(f"{grant.scope.value}: {grant.covers}"), "  ", "    "):
            click.echo(line)
        click.echo(visible(f"  in {_place(grant)}"))


@grants.command()
@click.argument("grant_id")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object and nothing else.")
@click.pass_obj
def show(settings: Settings, *, grant_id: str, as_json: bool) -> None:
    """Show one grant: what it covers, who gave it, when it ends."""
    book = _book(settings)
    grant = book.get(grant_id)
    if grant is None:
        raise _unknown(grant_id)
    if as_json:
        click.echo(json.dumps(grant.as_json()))
        return
    terms = grant.terms
    rows = {
        "grant": grant.grant_id,
        "covers": grant.covers,
        "scope": grant.scope.value,
        "workspace": _place(grant),
        "session": grant.session_id,
        "commands": "; ".join(shape.as_text() for shape in terms.shapes),
        "paths": ", ".join(pattern.text for pattern in terms.bounds.paths),
        "bound to": ", ".join(f"{path} {digest[:12]}" for path, digest in terms.files.items()),
        "given by": grant.given_by,
        "request": grant.request,
        "given at": grant.created_at.isoformat(timespec="seconds"),
        "ends": _left(grant, book.now()),
    }
    width = max(len(name) for name in rows)
    for name, text in rows.items():
        if text:
            for line in wrapped(visible(text), f"{name:<{width}}  ", " " * (width + 2)):
                click.echo(line)


@grants.command()
@click.argument("grant_ids", nargs=-1, metavar="[GRANT_ID]...")
@click.option("--all", "everything", is_flag=True, help="Take all of them back.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object and nothing else.")
@click.pass_obj
def revoke(
    settings: Settings, *, grant_ids: tuple[str, ...], everything: bool, as_json: bool
) -> None:
    """Take grants back, at once and in running sessions too."""
    if everything == bool(grant_ids):
        raise click.UsageError("name the grants to take back, or give --all")
    book = _book(settings)
    if everything:
        revoked = tuple(grant.grant_id for grant in book.all())
        book.revoke_all()
    else:
        known = {grant.grant_id for grant in book.all()}
        unknown = next((grant_id for grant_id in grant_ids if grant_id not in known), None)
        if unknown is not None:
            raise _unknown(unknown)
        revoked = book.revoke(grant_ids)
    if as_json:
        click.echo(json.dumps({"revoked": list(revoked)}))
        return
    click.echo(f"revoked: {', '.join(revoked)}" if revoked else "there were no grants")


def _book(settings: Settings) -> GrantBook:
    def warn(text: str) -> None:
        click.echo(f"luminaguard: {text}", err=True)

    return GrantBook(directory=settings.grants_dir, now=utc_now, warn=warn)


def _unknown(grant_id: str) -> PolicyError:
    return PolicyError(
        f"there is no grant {visible(grant_id)}", hint="`luminaguard grants list` shows which"
    )


def _place(grant: Grant) -> str:
    """The workspace's path; its identity begins with device and inode."""
    return grant.workspace.partition(" ")[2]


def _left(grant: Grant, now: datetime) -> str:
    minutes = max(0, round((grant.expires_at - now).total_seconds() / 60))
    time = f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes} min"
    return f"{grant.max_uses - grant.uses} of {grant.max_uses} uses and {time} left"
