"""Attacks on what answers for the human: project rules, the grants file, and the moment between."""

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from luminaguard.audit.log import AuditLog, utc_now
from luminaguard.audit.query import Query
from luminaguard.audit.reader import AuditReader
from luminaguard.audit.records import JsonObject
from luminaguard.domain.approval import End
from luminaguard.domain.outcome import AuditRef, Outcome, OutcomeKind
from luminaguard.errors import ConfigError, PolicyError
from luminaguard.policy.grants.book import GrantBook
from luminaguard.testing.approver import FixedApprover
from standing import ALLOW_RESTYLE, PROJECT_FILE, granting, restyle, rules, writing
from trees import fingerprint
from world import World, small_world

pytestmark = pytest.mark.anyio


@pytest.fixture
def world(tmp_path: Path) -> World:
    return small_world(tmp_path)


RESTYLE = ("restyle", "src/main.py")


class MeanwhileLog(AuditLog):
    """A log that lets something happen right after a decision was recorded, before its effect."""

    def meanwhile(self) -> None:
        """Do nothing, unless a test says otherwise."""

    def decide(
        self, request_nonce: str, body: JsonObject, *, session_id: str, call_id: str | None = None
    ) -> AuditRef:
        ref = super().decide(request_nonce, body, session_id=session_id, call_id=call_id)
        self.meanwhile()
        return ref


async def call(
    world: World,
    approver: FixedApprover,
    *argv: str,
    log: AuditLog | None = None,
    notice: Callable[[str], None] = lambda _: None,
) -> Outcome:
    async with world.session(approver, log=log, notice=notice) as session:
        return await session.exec(argv)


async def granted(world: World, offer: str = "pattern") -> None:
    """Have `restyle` granted by a human; the next time it would write another text."""
    restyle(world)
    outcome = await call(world, FixedApprover([granting(offer)]), *RESTYLE)
    assert outcome.kind is OutcomeKind.COMMITTED
    restyle(world, "tidier")


def grants_file(world: World) -> Path:
    return world.root / "state" / "grants" / "grants.json"


@pytest.mark.guarantee("G1", "G5")
async def test_a_project_cannot_allow_anything(world: World) -> None:
    (world.workspace / PROJECT_FILE).write_text(
        '[[allow]]\nname = "all"\ntool = "*"\n[[deny]]\nname = "no"\ncommand = "twiddle"\n'
    )
    restyle(world)
    world.program("twiddle", writing("x", b""))
    before = fingerprint(world.workspace)
    said: list[str] = []
    asked = FixedApprover([End.REJECTED])
    async with world.session(asked, notice=said.append) as session:
        outcome = await session.exec(RESTYLE)
        denied = await session.exec(["twiddle"])
    assert (outcome.kind, len(asked.cards)) == (OutcomeKind.DISCARDED, 1)
    assert denied.verdict.rules == ("project:no",), "what tightens is in force all the same"
    assert fingerprint(world.workspace) == before
    assert any("'all' would allow" in line for line in said)
    (started,) = AuditReader(world.root / "state").find(Query(kind="session.started"))
    (file,) = json.loads(json.dumps(started.body["rules"]))
    assert (file["tier"], file["rules"], file["not_in_force"]) == ("project", ["no"], ["all"])


@pytest.mark.guarantee("G1")
async def test_a_guest_cannot_loosen_the_project_s_rules_unasked(world: World) -> None:
    rules(world, '[[allow]]\nname = "all"\ntool = "*"\n')
    (world.workspace / PROJECT_FILE).write_text('[[deny]]\nname = "no"\ncommand = "twiddle"\n')
    world.program("tidy", lambda guest: guest.upper.delete(PROJECT_FILE))
    before = fingerprint(world.workspace)
    asked = FixedApprover([End.REJECTED])
    outcome = await call(world, asked, "tidy")
    assert outcome.kind is OutcomeKind.DISCARDED
    assert asked.cards[0].risk.value == "critical"
    assert asked.cards[0].offers == ()
    assert fingerprint(world.workspace) == before


async def test_rules_of_the_user_s_must_not_lie_where_a_commit_could_change_them(
    world: World,
) -> None:
    config = world.root / "config"
    config.mkdir()
    (config / "policy.toml").symlink_to(world.workspace / "mine.toml")
    (world.workspace / "mine.toml").write_text(ALLOW_RESTYLE)
    with pytest.raises(ConfigError, match="lies in the workspace"):
        async with world.session("deny"):
            pass


@pytest.mark.guarantee("G4")
@pytest.mark.skipif(sys.platform == "win32", reason="needs FIFOs and links")
@pytest.mark.parametrize("kind", ["fifo", "link to the user's file", "not TOML"])
async def test_a_project_s_file_that_cannot_be_trusted_stops_the_session(
    world: World, kind: str
) -> None:
    file = world.workspace / PROJECT_FILE
    if kind == "fifo":
        os.mkfifo(file)
    elif kind == "not TOML":
        file.write_text("= no")
    else:
        file.symlink_to(rules(world, ALLOW_RESTYLE))
    with pytest.raises(PolicyError):
        async with world.session("deny"):
            pass


@pytest.mark.guarantee("G1")
async def test_a_grants_file_that_was_tampered_with_grants_nothing(world: World) -> None:
    await granted(world)
    file = grants_file(world)
    file.write_text(file.read_text().replace('"src/**"', '"**"'))
    said: list[str] = []
    before = fingerprint(world.workspace)
    asked = FixedApprover([End.REJECTED])
    outcome = await call(world, asked, *RESTYLE, notice=said.append)
    assert (outcome.kind, len(asked.cards)) == (OutcomeKind.DISCARDED, 1)
    assert fingerprint(world.workspace) == before
    assert any("no grant is used" in line for line in said)


@pytest.mark.guarantee("G1")
async def test_a_grants_file_of_another_installation_grants_nothing(
    world: World, tmp_path: Path
) -> None:
    await granted(world)
    content = grants_file(world).read_bytes()
    elsewhere = World(root=tmp_path / "elsewhere", workspace=world.workspace)
    planted = grants_file(elsewhere)
    planted.parent.mkdir(parents=True, mode=0o700)
    planted.write_bytes(content)
    planted.chmod(0o600)
    restyle(elsewhere, "tidier")
    outcome = await call(elsewhere, FixedApprover([End.REJECTED]), *RESTYLE)
    assert outcome.kind is OutcomeKind.DISCARDED


@pytest.mark.guarantee("G1")
async def test_a_script_that_changed_since_the_grant_is_asked_about(world: World) -> None:
    world.program("./run.sh", writing("src/main.py", b"by the script"))
    first = await call(world, FixedApprover([granting("pattern")]), "./run.sh")
    assert first.kind is OutcomeKind.COMMITTED
    world.program("./run.sh", writing("src/main.py", b"by another"))
    same = await call(world, FixedApprover([]), "./run.sh")
    assert same.kind is OutcomeKind.COMMITTED, "its effect may differ within the bounds"
    (world.workspace / "run.sh").write_text("#!/bin/sh\nevil\n")
    world.program("./run.sh", writing("src/main.py", b"evil"))
    before = fingerprint(world.workspace)
    asked = FixedApprover([End.REJECTED])
    outcome = await call(world, asked, "./run.sh")
    assert outcome.kind is OutcomeKind.DISCARDED
    assert "'run.sh' is not what it was" in asked.cards[0].verdict.reasons[-1]
    assert fingerprint(world.workspace) == before


@pytest.mark.guarantee("G2")
@pytest.mark.parametrize("event", ["revoked", "denied", "mangled"])
async def test_a_standing_yes_that_ends_before_the_effect_is_a_conflict(
    world: World, event: str
) -> None:
    await granted(world)
    log = MeanwhileLog.open(world.root / "state")
    assert isinstance(log, MeanwhileLog)
    state = world.root / "state" / "grants"
    book = GrantBook(directory=state, now=utc_now)
    log.meanwhile = {  # type: ignore[method-assign]
        "revoked": book.revoke_all,
        "denied": lambda: rules(world, '[[deny]]\nname = "no"\ncommand = "restyle"\n'),
        "mangled": lambda: grants_file(world).write_text("{}"),
    }[event]
    before = fingerprint(world.workspace)
    outcome = await call(world, FixedApprover([]), *RESTYLE, log=log)
    log.close()
    assert (outcome.kind, outcome.error_code) == (OutcomeKind.FAILED, "conflict")
    assert outcome.report is None
    assert fingerprint(world.workspace) == before
    assert world.verifies()


@pytest.mark.guarantee("G2")
async def test_a_rule_that_is_withdrawn_before_the_effect_is_a_conflict(world: World) -> None:
    path = rules(world, ALLOW_RESTYLE)
    restyle(world)
    log = MeanwhileLog.open(world.root / "state")
    assert isinstance(log, MeanwhileLog)
    log.meanwhile = path.unlink  # type: ignore[method-assign]
    before = fingerprint(world.workspace)
    outcome = await call(world, FixedApprover([]), *RESTYLE, log=log)
    log.close()
    assert (outcome.kind, outcome.error_code) == (OutcomeKind.FAILED, "conflict")
    assert fingerprint(world.workspace) == before


async def test_a_revoked_grant_ends_in_a_running_session(world: World) -> None:
    restyle(world)
    asked = FixedApprover([granting("pattern"), End.REJECTED])
    async with world.session(asked) as session:
        assert (await session.exec(RESTYLE)).kind is OutcomeKind.COMMITTED
        restyle(world, "tidier")
        assert (await session.exec(RESTYLE)).kind is OutcomeKind.COMMITTED
        restyle(world)
        grants_file(world).unlink()
        last = await session.exec(RESTYLE)
    assert (last.kind, len(asked.cards)) == (OutcomeKind.DISCARDED, 2)


async def test_a_tool_call_cannot_name_itself_into_a_grant(world: World) -> None:
    await granted(world)
    world.program("rm", lambda guest: guest.upper.delete("src/main.py"))
    before = fingerprint(world.workspace)
    for argv in (
        ["restyle", "src/../README"],
        ["restyle", "README"],
        ["restyle", "src/main.py", "--all"],
        ["sh", "-c", "restyle src/main.py; rm src/main.py"],
        ["/tmp/restyle", "src/main.py"],
    ):
        world.hypervisor.programs[argv[0]] = world.hypervisor.programs["rm"]
        outcome = await call(world, FixedApprover([End.REJECTED]), *argv)
        assert outcome.kind is OutcomeKind.DISCARDED, argv
        restyle(world)
    assert fingerprint(world.workspace) == before
