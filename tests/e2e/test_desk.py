"""Many sessions at once, one desk: whatever order they are decided in, each gets its own end."""

from pathlib import Path

import anyio
import pytest

from luminaguard.approval.desk.desk import Answer
from luminaguard.approval.desk.held import DeskApprover, HeldDesk
from luminaguard.domain.approval import End
from luminaguard.domain.outcome import Outcome, OutcomeKind
from luminaguard.testing.hypervisor import FakeGuest
from world import World

pytestmark = pytest.mark.anyio

SESSIONS = 12
YES, NO = Answer(end=End.APPROVED), Answer(end=End.REJECTED, reason="no")


def worlds(place: Path) -> list[World]:
    """Return sessions' surroundings; each changes a file of its own name."""
    made: list[World] = []
    for number in range(SESSIONS):
        root = place / str(number)
        (root / "project").mkdir(parents=True)
        (root / "project" / "mine.txt").write_text("old\n")
        world = World(root=root, workspace=root / "project")

        def edit(guest: FakeGuest, text: str = f"new {number}\n") -> None:
            guest.upper.write("mine.txt", text.encode())

        world.program("edit", edit)
        made.append(world)
    return made


@pytest.mark.guarantee("G1")
@pytest.mark.guarantee("G2")
async def test_many_sessions_ask_at_once_and_each_gets_the_answer_to_its_own_question(
    tmp_path: Path,
) -> None:
    desk = HeldDesk(approver="queue")
    approver = DeskApprover(desk=desk, origin="a test")
    made = worlds(tmp_path)
    outcomes: dict[int, Outcome] = {}

    async def one(number: int) -> None:
        async with made[number].session(approver) as session:
            outcomes[number] = await session.exec(["edit"])

    async def decide() -> None:
        while len(desk.pending()) < SESSIONS:
            await desk.wait_for_change(desk.version)
        screen = desk.attach(proof="a script, not a human")
        for item in reversed(screen.pending()):
            number = int(Path(item.card.request.workspace.split(" ")[-1]).parent.name)
            await screen.answer(item.digest, YES if number % 2 else NO)

    with anyio.fail_after(60):
        async with anyio.create_task_group() as tasks:
            for number in range(SESSIONS):
                tasks.start_soon(one, number)
            tasks.start_soon(decide)
    for number, world in enumerate(made):
        approved = number % 2 == 1
        kind = OutcomeKind.COMMITTED if approved else OutcomeKind.DISCARDED
        assert outcomes[number].kind is kind
        text = (world.workspace / "mine.txt").read_text()
        assert text == (f"new {number}\n" if approved else "old\n")
        assert world.verifies()


@pytest.mark.guarantee("G4")
async def test_a_session_that_is_cancelled_takes_its_question_back(tmp_path: Path) -> None:
    desk = HeldDesk(approver="queue")
    world = worlds(tmp_path)[0]

    async def one() -> None:
        async with world.session(DeskApprover(desk=desk, origin="a test")) as session:
            await session.exec(["edit"])

    with anyio.fail_after(60):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(one)
            while not desk.pending():
                await desk.wait_for_change(desk.version)
            tasks.cancel_scope.cancel()
    assert desk.pending() == ()
    assert (world.workspace / "mine.txt").read_text() == "old\n"
    assert "approval.decided" in world.kinds()
    assert world.verifies()
