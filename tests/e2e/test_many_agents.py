"""A hundred agents at once over one pool and one log: every red call is decided and recorded."""

from collections import Counter

import anyio
import pytest

from agentworld import AgentWorld, Onlooker
from luminaguard.agent.loop import Run, Stop
from luminaguard.audit.query import Query
from luminaguard.audit.reader import AuditReader
from luminaguard.domain.approval import End
from luminaguard.domain.calls import JsonValue
from luminaguard.domain.outcome import OutcomeKind
from luminaguard.fleet import Fleet
from luminaguard.image.image import GuestImage
from luminaguard.llm.scripted import ScriptedModel, Turn
from luminaguard.runtime import Session
from luminaguard.testing.approver import FixedApprover
from world import World

pytestmark = pytest.mark.anyio
AGENTS = 100


def script(number: int) -> list[Turn]:
    write: dict[str, JsonValue] = {"path": "mine.txt", "content": f"agent {number}"}
    return [
        Turn(say="look", calls=(("shell", {"command": "ls"}),)),
        Turn(
            say="two at once",
            calls=(("write_file", write), ("shell", {"command": "write other.txt no"})),
        ),
        Turn(say="forbidden", calls=(("write_file", {"path": "/etc/x", "content": ""}),)),
        Turn(say=f"agent {number} is done"),
    ]


@pytest.mark.guarantee("G7")
async def test_a_hundred_agents_finish_and_each_call_has_its_one_end(world: World) -> None:
    AgentWorld(world)  # gives the machines their shell
    runs: dict[int, Run] = {}

    async def one(fleet: Fleet, number: int) -> None:
        tree = world.root / f"tree-{number}"
        tree.mkdir()
        session = Session(
            tree,
            approver=FixedApprover([End.APPROVED, End.REJECTED]),
            settings=world.settings(),
            machines=fleet.machines,
            log=fleet.log,
        )
        async with session:
            model = ScriptedModel(script(number))
            runs[number] = await session.run("task", model=model, observer=Onlooker())

    image = GuestImage(directory=world.root / "image", digest="0" * 64)
    with anyio.fail_after(120):
        fleet = Fleet(settings=world.settings(), hypervisor=world.hypervisor, image=image)
        async with fleet, anyio.create_task_group() as tasks:
            for number in range(AGENTS):
                tasks.start_soon(one, fleet, number)

    assert len(runs) == AGENTS
    for number, run in runs.items():
        assert (run.stop, run.answer) == (Stop.FINISHED, f"agent {number} is done")
        assert [outcome.kind for outcome in run.outcomes] == [
            OutcomeKind.EXECUTED,
            OutcomeKind.COMMITTED,
            OutcomeKind.DISCARDED,
            OutcomeKind.DENIED,
        ]
        tree = world.root / f"tree-{number}"
        assert [path.name for path in tree.iterdir()] == ["mine.txt"]
        assert (tree / "mine.txt").read_text() == f"agent {number}"
    reader = AuditReader(world.root / "state")
    kinds = Counter(record.kind for record in reader.find(Query(limit=0)))
    assert kinds["call.proposed"] == kinds["call.outcome"] == 4 * AGENTS
    assert kinds["approval.requested"] == kinds["approval.decided"] == 2 * AGENTS
    assert kinds["model.replied"] == 4 * AGENTS
    assert reader.verify().ok
