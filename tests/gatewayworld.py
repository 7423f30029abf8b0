"""A gateway for tests: real policy, audit and approval queue, servers in this process."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio
from mcp.client.client import Client

from luminaguard.approval.approver import Approver
from luminaguard.approval.approvers import utc_now
from luminaguard.approval.card import DiffCard
from luminaguard.approval.queue import ApprovalQueue
from luminaguard.audit.log import AuditLog
from luminaguard.audit.query import Query
from luminaguard.audit.reader import AuditReader
from luminaguard.audit.records import Record
from luminaguard.domain.approval import ApprovalRequest, Decision, End
from luminaguard.gateway.asking import McpAsking
from luminaguard.gateway.catalogue import Catalogue
from luminaguard.gateway.handling import Gate
from luminaguard.gateway.judging import McpJudging
from luminaguard.gateway.proposal import definition_of
from luminaguard.gateway.sdk import SdkUpstream, connected
from luminaguard.gateway.server import Front
from luminaguard.pipeline.record import Recorder
from luminaguard.policy.mcp.trust import TrustBook
from luminaguard.policy.rules.files import RuleFiles
from luminaguard.policy.source import PolicySource
from luminaguard.testing.approver import FixedApprover
from mcp_servers import Counting

NOTES = "notes"
IDENTITY = "in this process"


@dataclass(slots=True, kw_only=True)
class GatewayWorld:
    """An open gateway, and what is behind and beside it."""

    client: Client
    front: Front
    upstreams: dict[str, SdkUpstream]
    trust: TrustBook
    state: Path
    rules: Path
    warnings: list[str]

    def trust_all(self, server: str = NOTES) -> None:
        """Trust a server as it is now."""
        upstream = self.upstreams[server]
        self.trust.trust(server, IDENTITY, [definition_of(one) for one in upstream.tools.values()])

    def records(self) -> list[Record]:
        """Return what was recorded, oldest first."""
        return sorted(AuditReader(self.state).find(Query(limit=0)), key=lambda one: one.seq)

    async def call(self, name: str, **arguments: Any) -> tuple[str, bool]:
        """Call a tool; return its first text, and whether it is an error."""
        result = await self.client.call_tool(name, arguments)
        return result.content[0].text, bool(result.is_error)  # pyright: ignore[reportAttributeAccessIssue]


@asynccontextmanager
async def gateway_world(
    directory: Path,
    servers: dict[str, Counting],
    approver: Approver | None = None,
    *,
    timeout_s: float = 60.0,
    bare: Sequence[str] = (),
    client: dict[str, Any] | None = None,
    beat_s: float = 5.0,
) -> AsyncGenerator[GatewayWorld]:
    """Open a gateway before servers, and a client to it."""
    state = directory / "state"
    rules = directory / "policy.toml"
    log = AuditLog.open(state)
    recorder = Recorder(log=log, session_id="gateway-test")
    queue = ApprovalQueue(approver=approver or FixedApprover([]))
    trust = TrustBook(directory=state / "mcp")
    gate = Gate(
        judging=McpJudging(source=PolicySource(files=RuleFiles(user=rules)), trust=trust),
        asking=McpAsking(
            queue=queue, recorder=recorder, timeout_s=timeout_s, now=utc_now, place="test"
        ),
        recorder=recorder,
        now=utc_now,
    )
    async with AsyncExitStack() as stack:
        stack.callback(log.close)
        tasks = await stack.enter_async_context(anyio.create_task_group())
        fronts: list[Front] = []
        upstreams: dict[str, SdkUpstream] = {}
        for name, server in servers.items():

            def changed(what: str, name: str = name) -> None:
                for front in fronts:
                    front.changed(name, what, tasks)

            upstreams[name] = await stack.enter_async_context(
                connected(server.server(), name=name, identity=IDENTITY, on_changed=changed)
            )
        warnings: list[str] = []
        catalogue = Catalogue(upstreams=upstreams, bare=frozenset(bare), warn=warnings.append)
        front = Front(catalogue=catalogue, gate=gate, beat_s=beat_s)
        fronts.append(front)
        connection = await stack.enter_async_context(
            Client(front.server(), mode="legacy", **(client or {}))
        )
        yield GatewayWorld(
            client=connection,
            front=front,
            upstreams=upstreams,
            trust=trust,
            state=state,
            rules=rules,
            warnings=warnings,
        )
        tasks.cancel_scope.cancel()


class Waiting:
    """An approver that answers when told to."""

    name = "waiting"

    def __init__(self) -> None:
        self.asked, self.may_answer = anyio.Event(), anyio.Event()

    async def decide(self, request: ApprovalRequest, card: DiffCard) -> Decision:
        """Wait, and approve."""
        del card
        self.asked.set()
        await self.may_answer.wait()
        return Decision(
            end=End.APPROVED,
            request_digest=request.digest,
            approver=self.name,
            reason="as told",
            at=utc_now(),
        )
