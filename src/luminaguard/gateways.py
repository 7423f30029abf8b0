"""From settings and a file of servers to an open gateway. Wires; decides nothing."""

import secrets
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import anyio
import httpx2
from anyio import to_thread
from mcp.client.stdio import StdioServerParameters
from mcp.client.streamable_http import streamable_http_client

from luminaguard.agent.wording import result_text
from luminaguard.approval.approver import Approver
from luminaguard.approval.approvers import utc_now
from luminaguard.approval.queue import ApprovalQueue
from luminaguard.audit.log import AuditLog
from luminaguard.config import Settings
from luminaguard.deciders import opened_queue
from luminaguard.domain.calls import JsonValue, ToolSpec
from luminaguard.domain.outcome import OutcomeKind
from luminaguard.errors import McpError, ToolError
from luminaguard.gateway.asking import McpAsking
from luminaguard.gateway.catalogue import Catalogue
from luminaguard.gateway.configured import Configured, ServerFile
from luminaguard.gateway.handling import Gate
from luminaguard.gateway.judging import McpJudging
from luminaguard.gateway.sdk import SdkUpstream, connected
from luminaguard.gateway.server import Front
from luminaguard.gateway.waiting import BEAT_S
from luminaguard.pipeline.record import Recorder
from luminaguard.policy.mcp.trust import TrustBook
from luminaguard.policy.source import PolicySource
from luminaguard.runtime import Session, rule_files
from luminaguard.tools.toolbox import Toolbox, agent_tools

GATEWAY_APPROVERS = ("queue", "deny", "all")
"""Who can decide for a gateway: its terminal, if it has one, belongs to the client."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionTools:
    """The tools of an agent, run by a session: in its machine, through its guard."""

    session: Session

    @property
    def specs(self) -> Sequence[ToolSpec]:
        """What is offered."""
        return Toolbox(agent_tools()).specs

    async def call(self, name: str, arguments: Mapping[str, JsonValue]) -> tuple[str, bool]:
        """Return what the caller may know of the outcome, and whether it is an error.

        Raises:
            ToolError: there is no such tool.
            LuminaGuardError: it could not be recorded.
        """
        if name not in {spec.name for spec in self.specs} or "tool" in arguments:
            raise ToolError(f"there is no tool {name!r} that takes these arguments")
        outcome = await self.session.call(name, **arguments)
        is_error = outcome.kind not in {OutcomeKind.EXECUTED, OutcomeKind.COMMITTED}
        return result_text(outcome), is_error


@asynccontextmanager
async def opened_gateway(
    settings: Settings,
    servers: ServerFile,
    *,
    approver: Approver | str = "deny",
    approval_timeout_s: float | None = None,
    session: Callable[[Approver], Session] | None = None,
    notice: Callable[[str], None] = lambda _: None,
    beat_s: float = BEAT_S,
) -> AsyncGenerator[Front]:
    """Connect to all servers, and open what answers clients, while the body runs.

    Args:
        settings: Where rules, trust and records are.
        servers: What to connect to. One that cannot be reached is told of and left out.
        approver: Who decides, or its name.
        approval_timeout_s: Seconds until a request expires. Default: from the settings.
        session: Makes the session that runs the guarded tools; None: they are not offered.
        notice: Told what the user should know.
        beat_s: Seconds between signs of life towards a client whose call is held.
    """
    for error in servers.unusable.values():
        notice(f"{error}{f' ({error.hint})' if error.hint else ''}")
    place = f"mcp gateway of {settings.state_dir}"
    async with AsyncExitStack() as stack:
        queue = await stack.enter_async_context(
            opened_queue(approver, settings=settings, workspace=Path.cwd(), notice=notice)
        )
        gate = await _gate(
            settings,
            queue,
            stack,
            timeout_s=approval_timeout_s or settings.approval.timeout_s,
            place=place,
            notice=notice,
        )
        own: SessionTools | None = None
        if session is not None:
            opened = await stack.enter_async_context(session(queue.approver))
            own = SessionTools(session=opened)
        tasks = await stack.enter_async_context(anyio.create_task_group())
        fronts: list[Front] = []

        def changed(server: str, what: str) -> None:
            for one in fronts:
                one.changed(server, what, tasks)

        upstreams: dict[str, SdkUpstream] = {}
        for server in servers.servers:
            try:
                upstreams[server.name] = await _connect(server, stack, changed)
            except McpError as error:
                notice(f"{error}{f' ({error.hint})' if error.hint else ''}")
        catalogue = Catalogue(
            upstreams=upstreams,
            bare=frozenset(server.name for server in servers.servers if server.is_bare),
            warn=notice,
        )
        front = Front(
            catalogue=catalogue,
            gate=gate,
            own=own,
            beat_s=beat_s,
            version=version("luminaguard"),
        )
        fronts.append(front)
        yield front
        fronts.clear()
        tasks.cancel_scope.cancel()


async def _gate(
    settings: Settings,
    queue: ApprovalQueue,
    stack: AsyncExitStack,
    *,
    timeout_s: float,
    place: str,
    notice: Callable[[str], None],
) -> Gate:
    log = await to_thread.run_sync(AuditLog.open, settings.state_dir)
    stack.callback(log.close)
    session_id = f"gateway-{secrets.token_hex(8)}"
    stack.callback(log.end_session, session_id)
    source = PolicySource(files=rule_files(settings, None), warn=notice)
    policy = await to_thread.run_sync(source.opened)
    recorder = Recorder(log=log, session_id=session_id)
    await recorder.session_started(workspace=place, approver=queue.approver.name, policy=policy)
    stack.push_async_callback(recorder.session_ended)
    return Gate(
        judging=McpJudging(source=source, trust=TrustBook(directory=settings.state_dir / "mcp")),
        asking=McpAsking(
            queue=queue, recorder=recorder, timeout_s=timeout_s, now=utc_now, place=place
        ),
        recorder=recorder,
        now=utc_now,
    )


async def _connect(
    server: Configured, stack: AsyncExitStack, changed: Callable[[str, str], None]
) -> SdkUpstream:
    transport = (
        streamable_http_client(server.url, http_client=await _client(server, stack))
        if server.url
        else StdioServerParameters(
            command=server.command[0],
            args=list(server.command[1:]),
            env=dict(server.env),
            cwd=server.cwd,
        )
    )
    return await stack.enter_async_context(
        connected(
            transport,
            name=server.name,
            identity=server.identity,
            on_changed=lambda what: changed(server.name, what),
        )
    )


async def _client(server: Configured, stack: AsyncExitStack) -> httpx2.AsyncClient:
    client = httpx2.AsyncClient(
        headers=dict(server.headers), timeout=httpx2.Timeout(30.0, read=600.0), trust_env=False
    )
    return await stack.enter_async_context(client)
