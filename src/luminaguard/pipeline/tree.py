"""The session's workspace: what it sent, what it measured, what it brought back.

Everything here blocks; the machine calls it in worker threads.
"""

from collections.abc import AsyncGenerator, Generator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from luminaguard.domain.changeset import Changeset
from luminaguard.domain.diff import FileDiff
from luminaguard.errors import WorkspaceError
from luminaguard.workspace.base import Base
from luminaguard.workspace.imagecache import ImageCache
from luminaguard.workspace.measure.elsewhere import moved_on_host
from luminaguard.workspace.measure.gitview import git_lines
from luminaguard.workspace.measure.given import given_digest
from luminaguard.workspace.measure.harvest import Measurement
from luminaguard.workspace.measure.textdiff import file_diffs
from luminaguard.workspace.measure.upper import HarvestLimits
from luminaguard.workspace.root import WorkspaceRoot
from luminaguard.workspace.send.cleanfiles import CleanFiles
from luminaguard.workspace.send.gitrules import read_rules
from luminaguard.workspace.send.gituser import git_environment
from luminaguard.workspace.send.ignore import IgnoreRules
from luminaguard.workspace.send.imaging import WorkspaceImage
from luminaguard.workspace.send.scan import ScanLimits
from luminaguard.workspace.settle.commit import commit
from luminaguard.workspace.settle.lock import CommitStore
from luminaguard.workspace.spool import Spool
from luminaguard.workspace.spoolroom import SpoolRoom

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True, kw_only=True)
class CardMaterial:
    """What a card shows beyond the changeset itself."""

    diffs: tuple[FileDiff, ...]
    host_changes: tuple[str, ...]
    left_out: tuple[str, ...]
    git: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class TreeSettings:
    """Where things lie, and how much there may be of them."""

    state_dir: Path
    cache_dir: Path
    include: Sequence[str]
    limits: ScanLimits
    max_changeset_bytes: int


class SessionTree:
    """A workspace root with the image that a machine has of it and the base of its changes."""

    def __init__(self, root: WorkspaceRoot, settings: TreeSettings) -> None:
        self._root = root
        self._settings = settings
        self._store = CommitStore(settings.state_dir, root.dev, root.ino)
        self._room = SpoolRoom(settings.state_dir / "spool")
        clean = CleanFiles(settings.state_dir / "clean-files")
        self._images = ImageCache(root, settings.cache_dir, clean)
        self._rules = IgnoreRules()
        self._image: WorkspaceImage | None = None
        self._base: Base | None = None
        self._spool: Spool | None = None

    @property
    def path(self) -> str:
        """Where the workspace is, on the host and in the guest."""
        return str(self._root.path)

    @property
    def identity(self) -> str:
        """Names this very directory: what an approval is bound to."""
        return self._root.identity

    @property
    def image_fd(self) -> int:
        """The image of the tree as an open file."""
        return self._held(self._image).fd

    @property
    def filesystem(self) -> str:
        """What the image is: "erofs" or "squashfs"."""
        return self._held(self._image).filesystem

    def environment(self) -> dict[str, str]:
        """Return what every command in a guest gets besides its own variables."""
        return git_environment()

    def image(self) -> None:
        """Image the host's tree as it is now: the base of all changes from here on."""
        self.forget()
        self._settings.cache_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._rules = read_rules(self._root, include=self._settings.include)
        self._image = self._images.image(self._rules, self._settings.limits)
        self._base = Base(image=self._image.manifest)

    @asynccontextmanager
    async def measuring(self) -> AsyncGenerator[Measurement]:
        """Take in what a guest reports; its bytes go into a new spool."""
        with _disk():
            self._drop_spool()
            self._spool = self._room.spool(quota_bytes=self._settings.max_changeset_bytes)
            yield Measurement(
                root=self._root,
                base=self._held(self._base),
                rules=self._rules,
                spool=self._spool,
                limits=HarvestLimits(size_bytes=self._settings.max_changeset_bytes),
            )

    def material(self, changeset: Changeset) -> CardMaterial:
        """Return what a card shows of a changeset: differences, and what the host did meanwhile."""
        base = self._held(self._base)
        spool = self._held(self._spool)
        return CardMaterial(
            diffs=file_diffs(self._root, base, changeset, spool),
            host_changes=moved_on_host(self._root, base),
            left_out=tuple(sorted(base.image.left_out)),
            git=git_lines(self._root, changeset, spool),
        )

    def digest(self, path: str) -> str | None:
        """Return the SHA-256 of the file that the guest was given at a path; None without one."""
        return given_digest(self._root, self._held(self._base), path)

    def commit(self, changeset: Changeset) -> None:
        """Bring a measured changeset to the host; it becomes part of the base.

        Raises:
            ChangesetConflict: the host moved; nothing was overwritten.
            RecoveryNeeded: recovery must find out whether it was done.
        """
        base = self._held(self._base)
        identities = {path: held.identity for path, held in base.items()}
        done = commit(self._root, identities, changeset, self._held(self._spool), self._store)
        self._base = base.after_commit(changeset, done.identities)
        self._drop_spool()

    def forget(self) -> None:
        """Drop image, base and measured bytes."""
        image, self._image = self._image, None
        if image is not None:
            image.close()
        self._base = None
        self._drop_spool()

    def close(self) -> None:
        """Let go of the workspace."""
        self.forget()
        self._images.close()
        self._room.close()
        self._root.close()

    def _held(self, thing: _T | None) -> _T:
        """Return what `image` or `measuring` made; without it there is nothing to go on."""
        if thing is None:
            raise WorkspaceError("the session has no measured state; this is a defect")
        return thing

    def _drop_spool(self) -> None:
        spool, self._spool = self._spool, None
        if spool is not None:
            spool.close()


@contextmanager
def _disk() -> Generator[None]:
    """Turn a full or failing disk into an error of ours."""
    try:
        yield
    except OSError as error:
        raise WorkspaceError(
            f"the guest's changes could not be taken in: {error.strerror or error}",
            hint="free some space in the state directory (LUMINAGUARD_STATE_DIR)",
        ) from error
