"""`luminaguard approvals` on desks of this process: what it lists, finds and refuses."""

import json
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from anyio import to_thread
from click.testing import CliRunner, Result

from desks import OpenDesk, asking_desk, numbered_card
from luminaguard.approval.card import DiffCard
from luminaguard.approval.desk.admission import Admission
from luminaguard.cli.approvals import SHOWN_LINES, approvals
from luminaguard.config import Settings
from luminaguard.domain.approval import End
from luminaguard.domain.grant import GrantOffer, GrantScope
from luminaguard.domain.verdict import Risk
from luminaguard.errors import ApprovalError
from luminaguard.testing.cards import text_card

pytestmark = pytest.mark.anyio

OFFERS = tuple(
    GrantOffer(offer_id=f"offer-{scope}", scope=scope, covers=f"covers {scope}")
    for scope in (GrantScope.EXACT, GrantScope.SESSION)
)
ONE, TWO = replace(numbered_card(1), offers=OFFERS), numbered_card(2)


@asynccontextmanager
async def unattended(place: Path, *cards: DiffCard) -> AsyncGenerator[OpenDesk]:
    rule = Admission(enrollment=None, unattended_by="configuration")
    async with asking_desk(place / "state" / "run", *cards, admission=rule) as desk:
        yield desk


async def run(place: Path, arguments: Sequence[str]) -> Result:
    """Run a command in a thread of its own, as if in another process."""
    settings = Settings(
        state_dir=place / "state", cache_dir=place / "cache", config_file=place / "config.toml"
    )
    return await to_thread.run_sync(
        lambda: CliRunner().invoke(approvals, list(arguments), obj=settings)
    )


def refused(result: Result) -> ApprovalError:
    assert isinstance(result.exception, ApprovalError), result.output
    return result.exception


async def test_nothing_open_is_said_plainly(tmp_path: Path) -> None:
    result = await run(tmp_path, ["list"])
    assert (result.stdout, result.stderr) == ("", "nothing is waiting for a decision\n")
    assert json.loads((await run(tmp_path, ["list", "--json"])).stdout) == {"requests": []}


async def test_a_list_has_a_line_for_each_request(tmp_path: Path) -> None:
    async with unattended(tmp_path, ONE, TWO):
        lines = (await run(tmp_path, ["list"])).stdout.splitlines()
    assert lines[0].split() == ["id", "risk", "left", "tool", "asked", "by", "effect"]
    assert [line.split()[0] for line in lines[1:]] == [
        card.request.digest[:12] for card in (ONE, TWO)
    ]
    assert "1 path changes: 1 modified" in lines[1]


@pytest.mark.guarantee("G9")
async def test_hostile_words_are_shown_harmless(tmp_path: Path) -> None:
    evil = text_card({"a\x1b]52;c;eA==\x07.txt": ("x", "y\u202e\x1b[2J")}, tool="sh\x1b[31mell")
    async with unattended(tmp_path, evil):
        for command in (["list"], ["show", evil.request.digest[:8]]):
            shown = (await run(tmp_path, command)).output
            assert not {"\x1b", "\x07", "\u202e"} & set(shown)


async def test_a_request_is_named_by_the_beginning_of_its_number(tmp_path: Path) -> None:
    async with unattended(tmp_path, ONE):
        digest = ONE.request.digest
        shown = await run(tmp_path, ["show", digest[:4].upper(), "--json"])
        assert json.loads(shown.stdout)["digest"] == digest
        assert "too short" in str(refused(await run(tmp_path, ["show", digest[:3]])))
        assert "is open" in str(refused(await run(tmp_path, ["reject", "0" * 12])))


async def test_a_grant_is_named_by_its_id_or_scope_and_must_be_offered(tmp_path: Path) -> None:
    async with unattended(tmp_path, ONE, TWO) as desk:
        one, two = (card.request.digest for card in (ONE, TWO))
        greedy = refused(await run(tmp_path, ["approve", one, "--grant", "pattern"]))
        assert "offer-exact, offer-session" in str(greedy.hint)
        assert "nothing" in str(refused(await run(tmp_path, ["approve", two, "--grant", "x"])).hint)
        assert desk.ends == {}
        done = await run(tmp_path, ["approve", one, "--grant", "session", "--json"])
        assert json.loads(done.stdout)["grant"] == "offer-session"


async def test_the_card_is_shown_before_a_yes_all_of_it_when_critical(tmp_path: Path) -> None:
    long = "".join(f"line {number}\n" for number in range(2 * SHOWN_LINES))
    for risk in (Risk.HIGH, Risk.CRITICAL):
        card = text_card({"long.txt": (None, long)}, risk=risk)
        async with unattended(tmp_path, card) as desk:
            done = await run(tmp_path, ["approve", card.request.digest])
            assert (done.exit_code, done.stdout) == (0, "")
            assert desk.end_of(card) is End.APPROVED
        all_of_it = f"line {2 * SHOWN_LINES - 1}" in done.stderr
        assert all_of_it == (risk is Risk.CRITICAL)
        assert ("more lines: luminaguard approvals show" in done.stderr) != all_of_it


async def test_a_reason_goes_into_the_decision(tmp_path: Path) -> None:
    async with unattended(tmp_path, ONE) as desk:
        given = ["reject", ONE.request.digest, "--reason", "not now", "--json"]
        decision = json.loads((await run(tmp_path, given)).stdout)
        assert (decision["end"], decision["reason"]) == ("rejected", "not now")
        assert desk.end_of(ONE) is End.REJECTED
        too_late = refused(await run(tmp_path, ["approve", ONE.request.digest]))
        assert "audit list" in str(too_late.hint)
