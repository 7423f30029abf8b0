"""A world in which an agent works: fake machines, real guard, real records, any model."""

import json
from dataclasses import dataclass, field
from pathlib import Path

from luminaguard.agent.limits import Limits
from luminaguard.agent.loop import Run
from luminaguard.approval.approver import Approver
from luminaguard.audit.query import Query
from luminaguard.audit.reader import AuditReader
from luminaguard.audit.records import Record
from luminaguard.domain.calls import ToolCall
from luminaguard.domain.execution import Execution, GuestReport
from luminaguard.domain.outcome import Outcome
from luminaguard.llm.model import ChatModel, Reply
from luminaguard.testing.hypervisor import FakeGuest, exited
from world import World


@dataclass
class Onlooker:
    """Notes what an observer is told."""

    pieces: list[str] = field(default_factory=list)
    replies: list[Reply] = field(default_factory=list)
    calls: list[ToolCall] = field(default_factory=list)
    outcomes: list[Outcome] = field(default_factory=list)

    def saying(self, piece: str) -> None:
        self.pieces.append(piece)

    def said(self, reply: Reply) -> None:
        self.replies.append(reply)

    def calling(self, call: ToolCall) -> None:
        self.calls.append(call)

    def ended(self, outcome: Outcome) -> None:
        self.outcomes.append(outcome)


def shell(guest: FakeGuest, execution: Execution) -> GuestReport:
    """A shell that knows `cat FILE`, `write FILE TEXT` and `make`."""
    words = execution.argv[2].split(" ", 2)
    if words[0] == "cat":
        assert guest.mount is not None
        return exited(0, stdout=(Path(guest.mount.path) / words[1]).read_bytes())
    if words[0] == "write":
        guest.upper.write(words[1], words[2].encode())
    return exited(0, stdout=b"ok\n")


def python(guest: FakeGuest, execution: Execution) -> GuestReport:
    """The file tools, as far as they write or delete one file."""
    given = json.loads(execution.stdin)
    if "content" in given:
        guest.upper.write(given["path"], given["content"].encode())
    elif "unlink" in (execution.python or ""):
        guest.upper.delete(given["path"])
    return exited(0, stdout=b"ok\n")


@dataclass
class AgentWorld:
    """A world with a shell in its guests."""

    world: World
    seen: Onlooker = field(default_factory=Onlooker)

    def __post_init__(self) -> None:
        self.world.hypervisor.programs["/bin/bash"] = shell
        self.world.hypervisor.programs["python"] = python

    async def run(
        self,
        model: ChatModel,
        approver: Approver | str = "deny",
        *,
        limits: Limits | None = None,
        task: str = "the task",
    ) -> Run:
        """Let a model work on a task in a session of its own, and close it."""
        try:
            async with self.world.session(approver) as session:
                return await session.run(task, model=model, observer=self.seen, limits=limits)
        finally:
            await model.close()

    def records(self, kind: str) -> list[Record]:
        """Return all records of a kind, oldest first."""
        reader = AuditReader(self.world.root / "state")
        return reader.find(Query(kind=kind, newest_first=False, limit=0))

    def transcripts(self) -> list[Path]:
        """Return the files that hold conversations."""
        return sorted((self.world.root / "state" / "transcripts").glob("*.jsonl"))
