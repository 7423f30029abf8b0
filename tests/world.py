"""A whole session over a real workspace, a real audit log and real commits, but a fake machine."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from luminaguard.approval.approver import Approver
from luminaguard.audit.query import Query
from luminaguard.audit.reader import AuditReader
from luminaguard.config import (
    ApprovalSettings,
    PolicySettings,
    Settings,
    VmSettings,
    WorkspaceSettings,
)
from luminaguard.domain.execution import Execution, GuestReport
from luminaguard.image.image import GuestImage
from luminaguard.runtime import Session
from luminaguard.testing.hypervisor import FakeGuest, FakeHypervisor, exited


@dataclass
class World:
    """Everything around one session."""

    root: Path
    workspace: Path
    hypervisor: FakeHypervisor = field(default_factory=FakeHypervisor)

    def settings(self, *, no_effect: bool = True, max_changeset_bytes: int = 1 << 30) -> Settings:
        return Settings(
            state_dir=self.root / "state",
            cache_dir=self.root / "cache",
            config_file=self.root / "config" / "config.toml",
            approval=ApprovalSettings(timeout_s=30.0),
            policy=PolicySettings(no_effect=no_effect),
            vm=VmSettings(scratch_mib=8),
            workspace=WorkspaceSettings(max_changeset_bytes=max_changeset_bytes),
        )

    def session(
        self,
        approver: Approver | str = "deny",
        *,
        no_effect: bool = True,
        max_changeset_bytes: int = 1 << 30,
        **more: object,
    ) -> Session:
        return Session(
            self.workspace,
            approver=approver,
            settings=self.settings(no_effect=no_effect, max_changeset_bytes=max_changeset_bytes),
            hypervisor=self.hypervisor,
            image=GuestImage(directory=self.root / "image", digest="0" * 64),
            **more,  # type: ignore[arg-type]
        )

    def program(self, name: str, act: Callable[[FakeGuest], None], out: bytes = b"done\n") -> None:
        """Let the guest have a program that does this and prints `out`."""

        def run(guest: FakeGuest, _: Execution) -> GuestReport:
            act(guest)
            return exited(0, stdout=out)

        self.hypervisor.programs[name] = run

    def kinds(self) -> list[str]:
        """Return the kinds of all records, oldest first."""
        found = AuditReader(self.root / "state").find(Query(newest_first=False))
        return [record.kind for record in found]

    def verifies(self) -> bool:
        return AuditReader(self.root / "state").verify().ok


def small_world(root: Path) -> World:
    """Return a world around a small project in `root`."""
    workspace = root / "project"
    (workspace / "src").mkdir(parents=True)
    (workspace / "src" / "main.py").write_text("print('one')\n")
    (workspace / "README").write_text("read me\n")
    (workspace / "run.sh").write_text("#!/bin/sh\n")
    (workspace / "run.sh").chmod(0o755)
    (workspace / "link").symlink_to("README")
    return World(root=root, workspace=workspace)
