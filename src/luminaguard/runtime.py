"""The composition root: from settings to a working session. The only place that wires things."""

import secrets
import time
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from pathlib import Path
from types import TracebackType
from typing import Self

from anyio import to_thread

from luminaguard.agent.limits import Limits
from luminaguard.agent.loop import Agent, Run
from luminaguard.agent.ports import Observer
from luminaguard.agent.resume import resumed
from luminaguard.agent.transcript import Transcript, read_transcript
from luminaguard.agent.wording import system_prompt
from luminaguard.approval.approver import Approver
from luminaguard.approval.approvers import utc_now
from luminaguard.audit.log import AuditLog
from luminaguard.backends import choose
from luminaguard.config import Settings, load
from luminaguard.deciders import opened_queue
from luminaguard.domain.calls import JsonValue, ToolCall
from luminaguard.domain.outcome import Outcome
from luminaguard.errors import ConfigError, LuminaGuardError, RecoveryNeeded
from luminaguard.image.image import GuestImage
from luminaguard.llm.model import ChatModel, Message, Role
from luminaguard.llm.usage import Usage
from luminaguard.machines import machine_spec
from luminaguard.pipeline.aftermath import end_what_was_left
from luminaguard.pipeline.ask import Asking
from luminaguard.pipeline.guard import Guard
from luminaguard.pipeline.judging import Judging
from luminaguard.pipeline.machine import SessionMachine
from luminaguard.pipeline.record import Recorder
from luminaguard.pipeline.replay import recent_calls
from luminaguard.pipeline.standing import StandingYeses
from luminaguard.pipeline.tree import SessionTree, TreeSettings
from luminaguard.policy.grants.book import GrantBook
from luminaguard.policy.grants.offers import Offering
from luminaguard.policy.policy import CallContext
from luminaguard.policy.rules.files import RuleFiles
from luminaguard.policy.source import PolicySource
from luminaguard.tools.commands import ExecTool
from luminaguard.tools.toolbox import Toolbox, agent_tools
from luminaguard.vm.direct import DirectSource
from luminaguard.vm.disks import scratch_disk
from luminaguard.vm.hypervisor import Hypervisor
from luminaguard.vm.source import MachineSource
from luminaguard.vm.spec import VmSpec
from luminaguard.workspace.root import WorkspaceRoot
from luminaguard.workspace.send.scan import ScanLimits

MIB = 1024 * 1024


class Session:
    """A workspace, a micro-VM over it, and the guard before it. An async context manager.

    async with Session("project") as session:
        outcome = await session.exec(["make", "test"])
    """

    def __init__(  # noqa: PLR0913 - each is a choice of its own, with a default
        self,
        workspace: Path | str,
        *,
        approver: Approver | str | None = None,
        settings: Settings | None = None,
        hypervisor: Hypervisor | None = None,
        image: GuestImage | None = None,
        machines: MachineSource | None = None,
        log: AuditLog | None = None,
        include: Sequence[str] = (),
        approval_timeout_s: float | None = None,
        command_timeout_s: float = 600.0,
        env: Mapping[str, str] | None = None,
        stdin: bytes = b"",
        notice: Callable[[str], None] = lambda _: None,
    ) -> None:
        """Choose what the session is made of; nothing is opened yet.

        Args:
            workspace: The project directory.
            approver: Who decides: an `Approver`, or the name of one (`config.APPROVERS`).
                Default: the terminal, and nobody ("deny") where there is none.
            settings: Default: from the configuration file and the environment.
            hypervisor: Default: QEMU, with the best accelerator that this host has.
            image: What machines run. Default: the image that the settings name.
            machines: Where machines come from, such as a fleet's; then `hypervisor` and `image`
                are not used. Default: made when needed.
            log: An open audit log that several sessions share. Default: opened for this session.
            include: Patterns of files to send although ignore rules or the secret list match them.
            approval_timeout_s: Seconds until a request expires. Default: from the settings.
            command_timeout_s: Seconds until a command is killed.
            env: Variables for the guest; nothing else of the environment gets in.
            stdin: Standard input of the commands.
            notice: Told what the user waits for, when it takes long.
        """
        self._settings = settings or load()
        self._workspace = workspace
        self._chosen_approver = approver
        self._hypervisor = hypervisor
        self._machines = machines
        self._log = log
        self._image = image
        self._notice = notice
        self._include = (*self._settings.workspace.include, *include)
        self._approval_timeout_s = approval_timeout_s or self._settings.approval.timeout_s
        self._exec = ExecTool(timeout_s=command_timeout_s, env=env or {}, stdin=stdin)
        self._stack = AsyncExitStack()
        self._guard: Guard | None = None
        self._agent: Agent | None = None
        self.id = f"session-{secrets.token_hex(8)}"

    @property
    def transcript_path(self) -> Path:
        """Where `run` writes the conversation."""
        return self._settings.state_dir / "transcripts" / f"{self.id}.jsonl"

    async def __aenter__(self) -> Self:
        """Open the audit log and the workspace; settle what an earlier crash left."""
        async with AsyncExitStack() as stack:
            self._guard = await self._open(stack)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Destroy the machine and close everything."""
        self._guard = None
        await self._stack.__aexit__(exc_type, exc, traceback)

    async def exec(self, argv: Sequence[str]) -> Outcome:
        """Run one program through the guard."""
        return await self.call("exec", argv=list(argv), **self._exec.bound_arguments())

    async def call(self, tool: str, **arguments: JsonValue) -> Outcome:
        """Call one tool through the guard."""
        call = ToolCall(call_id=f"call-{secrets.token_hex(8)}", tool=tool, arguments=arguments)
        return await self._opened.handle(call)

    @asynccontextmanager
    async def agent(
        self,
        *,
        model: ChatModel,
        observer: Observer,
        limits: Limits | None = None,
        resume: Path | None = None,
    ) -> AsyncGenerator[Agent]:
        """Put a model to work; every call of it goes through the guard.

        Args:
            model: Who proposes calls.
            observer: Sees the work go by.
            limits: How far it may go.
            resume: Transcript of an earlier run to go on with.

        Raises:
            LuminaGuardError: the transcript cannot be gone on with.
        """
        guard = self._opened
        prompt = system_prompt(guard.machine.workspace_path, self._settings.model.prompt_file)
        saved = await to_thread.run_sync(read_transcript, resume) if resume else None
        if saved and saved.workspace != guard.machine.workspace_path:
            raise LuminaGuardError(
                f"that run worked on {saved.workspace}", hint=f"add -w {saved.workspace}"
            )
        transcript = Transcript(resume or self.transcript_path, utc_now)
        transcript.begin(workspace=guard.machine.workspace_path, model=model.name)
        first = Message(role=Role.SYSTEM, text=prompt)
        agent = Agent(
            model=model,
            guard=guard,
            tools=Toolbox(agent_tools()).specs,
            conversation=resumed(saved.messages, prompt) if saved else [first],
            transcript=transcript,
            ledger=guard.recorder,
            observer=observer,
            seconds=time.monotonic,
            limits=limits or Limits(),
            usage=saved.usage if saved else Usage(),
        )
        if saved is None:
            transcript.add(first)
        self._agent = agent
        try:
            yield agent
        finally:
            self._agent = None
            transcript.close()

    async def run(
        self, task: str, *, model: ChatModel, observer: Observer, limits: Limits | None = None
    ) -> Run:
        """Let a model work on one task."""
        async with self.agent(model=model, observer=observer, limits=limits) as agent:
            return await agent.run(task)

    def interrupt(self) -> None:
        """Stop waiting for the model, and end the call in progress as failed.

        A commit that has begun is brought to its end.
        """
        if self._agent is not None and self._agent.is_thinking:
            self._agent.interrupt()
        elif self._guard is not None:
            self._guard.interrupt()

    @property
    def _opened(self) -> Guard:
        if self._guard is None:
            raise LuminaGuardError(
                "the session is not open", hint="use it as `async with Session(…)`"
            )
        return self._guard

    async def _open(self, stack: AsyncExitStack) -> Guard:
        """Wire everything together, bottom up; `stack` closes it in reverse."""
        settings = self._settings
        queue = await stack.enter_async_context(
            opened_queue(
                self._chosen_approver,
                settings=settings,
                workspace=Path(self._workspace),
                notice=self._notice,
            )
        )
        root = await to_thread.run_sync(self._root)
        tree = SessionTree(root, self._tree_settings())
        stack.callback(tree.close)
        log = self._log or await self._own_log(stack)
        stack.callback(log.end_session, self.id)
        left = await to_thread.run_sync(end_what_was_left, root, log, settings.state_dir)
        if left.is_blocked:
            raise RecoveryNeeded(
                f"an earlier commit to {root.path} ended half way, and files changed since",
                hint=f"luminaguard recover -w {root.path}",
            )
        judging = await to_thread.run_sync(self._judging, root)
        recorder = Recorder(log=log, session_id=self.id)
        machine = SessionMachine(
            source=self._machines or await self._direct(stack),
            owner=self.id,
            tree=tree,
            make_scratch=self._scratch,
            notice=self._notice,
        )
        await recorder.session_started(
            workspace=root.identity, approver=queue.approver.name, policy=judging.policy
        )
        stack.push_async_callback(recorder.session_ended)
        stack.push_async_callback(machine.destroy)
        return Guard(
            judging=judging,
            toolbox=Toolbox((self._exec, *agent_tools())),
            machine=machine,
            asking=Asking(
                queue=queue,
                machine=machine,
                recorder=recorder,
                standing=self._standing(judging, tree, stack),
                session_id=self.id,
                timeout_s=self._approval_timeout_s,
                now=utc_now,
                notice=self._notice,
            ),
            recorder=recorder,
            now=utc_now,
            no_effect_rule=settings.policy.no_effect,
        )

    def _judging(self, root: WorkspaceRoot) -> Judging:
        """Read the rules; nothing runs under rules that cannot be read."""
        files = rule_files(self._settings, root.path)
        source = PolicySource(files=files, warn=self._notice)
        context = CallContext(workspace=str(root.path))
        return Judging(source=source, context=context, policy=source.opened())

    def _standing(
        self, judging: Judging, tree: SessionTree, stack: AsyncExitStack
    ) -> StandingYeses:
        book: GrantBook | None = None
        if self._settings.policy.grants:
            book = GrantBook(directory=self._settings.grants_dir, now=utc_now, warn=self._notice)
            stack.callback(book.end_session, self.id)
        lifetime = timedelta(seconds=self._settings.policy.grant_lifetime_s)
        return StandingYeses(
            judging=judging,
            tree=tree,
            session_id=self.id,
            offering=Offering(now=utc_now, lifetime=lifetime),
            book=book,
            recent=lambda: recent_calls(self._settings.state_dir),
        )

    async def _own_log(self, stack: AsyncExitStack) -> AuditLog:
        log = await to_thread.run_sync(AuditLog.open, self._settings.state_dir)
        stack.callback(log.close)
        return log

    def _root(self) -> WorkspaceRoot:
        return WorkspaceRoot.open(self._workspace, protected=self._settings.own_dirs)

    def _scratch(self) -> int:
        return scratch_disk(self._settings.cache_dir, self._settings.vm.scratch_mib * MIB)

    async def _direct(self, stack: AsyncExitStack) -> MachineSource:
        def spec() -> VmSpec:
            image = self._image or self._settings.image_for(Path(self._workspace).resolve())
            return machine_spec(self._settings, image)

        hypervisor = self._hypervisor
        if hypervisor is None:
            hypervisor = own = await choose(self._settings, lambda: spec().image)
            stack.callback(own.close)
        return DirectSource(hypervisor, spec)

    def _tree_settings(self) -> TreeSettings:
        workspace = self._settings.workspace
        return TreeSettings(
            state_dir=self._settings.state_dir,
            cache_dir=self._settings.cache_dir,
            include=self._include,
            limits=ScanLimits(files=workspace.max_files, size_bytes=workspace.max_bytes),
            max_changeset_bytes=workspace.max_changeset_bytes,
        )


def rule_files(settings: Settings, workspace: Path | None) -> RuleFiles:
    """Return where the rules for a workspace are read from.

    Raises:
        ConfigError: the user's file lies in the workspace, where a commit could change it.
    """
    user = settings.rules_file
    if workspace is not None and user.resolve().is_relative_to(workspace):
        raise ConfigError(
            f"your rules file {user} lies in the workspace, so it would not be yours alone",
            hint="move it, or name it luminaguard-policy.toml: then it may only tighten",
        )
    project = workspace if settings.policy.project_rules else None
    return RuleFiles(user=user, workspace=project)
