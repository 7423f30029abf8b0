"""What people read in the record afterwards: the card that was decided on, and the numbers."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from luminaguard.audit.query import Query
from luminaguard.audit.reader import AuditReader
from luminaguard.cli.audit import audit
from luminaguard.domain.approval import End
from luminaguard.testing.approver import FixedApprover
from luminaguard.testing.hypervisor import FakeGuest
from standing import ALLOW_RESTYLE, granting, restyle, rules
from world import World

pytestmark = pytest.mark.anyio


def edit(guest: FakeGuest) -> None:
    guest.upper.write("src/main.py", b"print('two')\n")
    guest.upper.delete("README")


async def story(world: World) -> None:
    world.program("edit", edit, b"token=abcdefghijklmnop \x1b[2J\n")
    async with world.session(FixedApprover([End.APPROVED])) as session:
        await session.exec(["edit"])
        await session.exec(["true"])


def run(world: World, *arguments: str) -> Result:
    return CliRunner().invoke(audit, arguments, obj=world.settings(), catch_exceptions=False)


def number_of(world: World, kind: str) -> str:
    found = AuditReader(world.root / "state").find(Query(kind=kind, newest_first=False))
    return str(found[0].seq)


@pytest.mark.parametrize("kind", ["approval.requested", "approval.decided", "call.outcome"])
async def test_every_record_about_a_card_shows_the_card_and_how_it_ended(
    world: World, kind: str
) -> None:
    await story(world)
    shown = run(world, "show", number_of(world, kind)).output
    assert "+ print('two')" in shown
    assert "README" in shown
    assert "approved by fixed; reason: as written in the script" in shown
    assert "committed" in shown
    assert "\x1b" not in shown


@pytest.mark.guarantee("G4")
@pytest.mark.parametrize("kind", ["approval.decided", "commit.finished", "call.outcome"])
@pytest.mark.parametrize("said_by", ["rule", "grant"])
async def test_what_passed_by_a_standing_yes_can_be_read_afterwards(
    world: World, said_by: str, kind: str
) -> None:
    restyle(world)
    asked = FixedApprover([granting("pattern")])
    if said_by == "rule":
        rules(world, ALLOW_RESTYLE)
    else:
        async with world.session(asked) as session:
            await session.exec(["restyle", "src/main.py"])
    restyle(world, "print('unasked')")
    async with world.session(asked) as session:
        await session.exec(["restyle", "src/main.py"])
    cards = len(asked.cards)
    found = AuditReader(world.root / "state").find(Query(kind=kind))
    shown = run(world, "show", str(found[0].seq)).output
    assert "+ print('unasked')" in shown
    assert "nobody was asked; this is what passed" in shown
    assert f"approved by {said_by}" in shown
    assert json.loads(run(world, "stats", "--json").output)["asked"] == cards
    assert cards == (1 if said_by == "grant" else 0)


async def test_a_record_without_a_card_shows_its_fields(world: World) -> None:
    await story(world)
    shown = run(world, "show", number_of(world, "session.started")).output
    assert json.loads(shown)["kind"] == "session.started"


async def test_the_numbers_are_told_in_words_and_as_one_object(world: World) -> None:
    await story(world)
    told = run(world, "stats").output
    assert "1 sessions, 2 calls" in told
    assert "asked           1 times, 1.00 for each session" in told
    assert "(100% approved)" in told
    assert json.loads(run(world, "stats", "--json").output)["ends"] == {"approved": 1}
    assert "0 calls" in run(world, "stats", "--since", "2999-01-01").output


async def test_old_records_are_moved_by_command_and_the_rest_verifies(
    world: World, tmp_path: Path
) -> None:
    await story(world)
    moved = run(world, "prune", "--before", "2999-01-01", "--to", str(tmp_path / "old.jsonl"))
    assert "records moved to" in moved.output
    verified = run(world, "verify").output
    assert verified.startswith("ok: ")
    assert "older ones were taken out" in verified
    assert (tmp_path / "old.jsonl").stat().st_size > 1000
