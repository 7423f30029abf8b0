"""From an approver's name to who is asked."""

import os
from datetime import UTC, datetime
from pathlib import Path

import pytest

from desks import SECRET
from luminaguard.approval.desk.client import find_desks
from luminaguard.approval.desk.held import DeskApprover
from luminaguard.approval.desk.secret import enroll
from luminaguard.config import APPROVERS, ApprovalSettings, Settings
from luminaguard.deciders import opened_queue
from luminaguard.domain.approval import End
from luminaguard.errors import ApprovalError, ConfigError
from luminaguard.testing.approver import FixedApprover

pytestmark = pytest.mark.anyio


def settings(place: Path, **approval: object) -> Settings:
    return Settings(
        state_dir=place / "state",
        cache_dir=place / "cache",
        config_file=place / "config.toml",
        approval=ApprovalSettings(**approval),  # type: ignore[arg-type]
    )


@pytest.mark.parametrize("name", ["tty", "deny"])
async def test_a_name_makes_its_approver(tmp_path: Path, name: str) -> None:
    async with opened_queue(name, settings=settings(tmp_path), workspace=tmp_path) as queue:
        assert (queue.approver.name, queue.escalation) == (name, None)


async def test_an_approver_of_ones_own_is_taken_as_it_is(tmp_path: Path) -> None:
    own = FixedApprover([End.REJECTED])
    async with opened_queue(own, settings=settings(tmp_path), workspace=tmp_path) as queue:
        assert queue.approver is own


@pytest.mark.guarantee("G4")
async def test_an_unknown_name_decides_nothing_and_the_known_ones_are_told(tmp_path: Path) -> None:
    with pytest.raises(ApprovalError) as refused:
        async with opened_queue("maybe", settings=settings(tmp_path), workspace=tmp_path):
            pass
    assert refused.value.hint == ", ".join(APPROVERS)


async def test_the_queue_is_found_by_other_processes_while_it_is_open(tmp_path: Path) -> None:
    chosen = settings(tmp_path)
    enroll(chosen.state_dir, SECRET, at=datetime.now(UTC))
    told: list[str] = []
    opened = opened_queue("queue", settings=chosen, workspace=Path(), notice=told.append)
    async with opened as queue:
        assert isinstance(queue.approver, DeskApprover)
        assert queue.approver.name == "queue"
        assert queue.approver.origin == f"process {os.getpid()}, {Path.cwd()}"
        assert len(find_desks(chosen.runtime_dir)) == 1
    assert find_desks(chosen.runtime_dir) == ()
    assert "luminaguard approvals" in told[0]


async def test_the_terminal_escalates_where_the_settings_say_so(tmp_path: Path) -> None:
    chosen = settings(tmp_path, escalate_after_s=30.0)
    enroll(chosen.state_dir, SECRET, at=datetime.now(UTC))
    async with opened_queue("tty", settings=chosen, workspace=tmp_path) as queue:
        assert queue.escalation is not None
        assert (queue.escalation.after_s, queue.escalation.to.name) == (30.0, "queue")
    async with opened_queue("deny", settings=chosen, workspace=tmp_path) as queue:
        assert queue.escalation is None


@pytest.mark.guarantee("G1")
async def test_nothing_escalates_to_an_approver_that_asks_nobody(tmp_path: Path) -> None:
    for to in ("all", "deny", "tty"):
        chosen = settings(tmp_path, escalate_after_s=30.0, escalate_to=to, allow_unattended=True)
        with pytest.raises(ConfigError, match="only the queue"):
            async with opened_queue("tty", settings=chosen, workspace=tmp_path):
                pass
