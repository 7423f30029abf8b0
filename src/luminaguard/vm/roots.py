"""Guest images as directories, for what mounts no disks: unpacked once, checked, collected.

A root is used only while its image is whole and every entry of it is what it was when it was
unpacked. Entries are compared by identity: the change time of a file moves with every write, and no
program can set it. Source: inode(7), "Last status change timestamp". After a restart of the host,
which may have lost what was written last, a root is unpacked anew.
"""

import json
import os
import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress
from hashlib import sha256
from pathlib import Path

from anyio.to_thread import run_sync

from luminaguard.errors import ImageError, VmError
from luminaguard.image.image import GuestImage
from luminaguard.vm.directories import cache_lock, make_private
from luminaguard.vm.imagecheck import ImageCheck
from luminaguard.vm.linux import DIRECTORY, NO_FOLLOW, try_lock
from luminaguard.vm.owned import remove_unused
from luminaguard.vm.probecache import boot_id
from luminaguard.vm.trees import unpack

_ROOTS = "roots"
_SEAL = ".seal"
_FORMAT = 1
_KEPT = 2
"""Roots kept: an image's update leaves the earlier one for a while."""
_TURN_LIMIT_S = 660.0
"""Longer than an image may take to unpack."""
_UNFINISHED, _CHANGED = ".unpacking-", ".changed-"

Addition = Callable[[Path], object]
"""Puts into a root, before it is sealed, what an image does not bring. Blocking."""


class Roots:
    """Unpacked guest images in the cache directory, shared by all machines of this user."""

    def __init__(self, cache_dir: Path) -> None:
        """Keep them in `cache_dir`, in a directory that only this user may enter."""
        self._directory = cache_dir / _ROOTS
        self._check = ImageCheck()
        self._held: dict[str, tuple[Path, int]] = {}

    async def of(
        self, image: GuestImage, *, variant: str = "", addition: Addition | None = None
    ) -> Path:
        """Return the image's root as a directory; unpack it first if need be.

        Checked once by each process, and kept from being collected until `close`.

        Args:
            image: Whose root.
            variant: Names what `addition` adds: another variant is another root.
            addition: Called with a root that was just unpacked.

        Raises:
            ImageError: the image is not what its manifest says.
            HypervisorUnavailable: the tool that unpacks it is missing.
            VmError: others may enter the directory, or another process is busy in it too long.
        """
        name = image.digest + variant
        held = self._held.get(name)
        if held is None:
            if not await run_sync(make_private, self._directory):
                raise VmError(
                    f"others may enter {self._directory}", hint=f"chmod 700 {self._directory}"
                )
            async with cache_lock(self._directory, limit_s=_TURN_LIMIT_S):
                await run_sync(self._find, name, image, addition)
            held = self._held[name]
        return held[0]

    def close(self) -> None:
        """Let unused roots be collected. The machines have been ended."""
        while self._held:
            _, (_, lock) = self._held.popitem()
            os.close(lock)

    def _find(self, name: str, image: GuestImage, addition: Addition | None) -> None:
        if name in self._held:  # another task was faster
            return
        self._check.require(image)
        root = self._directory / name
        try:
            self._collect(name)
            lock = _hold(root)
            if lock is None or _sealed(root) != _marks(root):
                if lock is not None:
                    os.close(lock)
                    root.rename(self._directory / f"{_CHANGED}{uuid.uuid4().hex}")
                self._unpack(root, image, addition)
                lock = _hold(root)
            os.utime(_seal_of(root))
        except OSError as problem:
            raise ImageError(f"the image cannot be unpacked: {problem}") from problem
        if lock is None:
            raise VmError(f"somebody removes what is in {self._directory}")
        self._held[name] = (root, lock)

    def _unpack(self, root: Path, image: GuestImage, addition: Addition | None) -> None:
        unfinished = self._directory / f"{_UNFINISHED}{uuid.uuid4().hex}"
        _seal_of(root).unlink(missing_ok=True)
        try:
            fd = os.open(image.rootfs, os.O_RDONLY)
            try:
                unpack(fd, unfinished)
            finally:
                os.close(fd)
            if addition is not None:
                addition(unfinished)
            unfinished.rename(root)
        except BaseException:
            remove_unused(unfinished)
            raise
        seal = {"format": _FORMAT, "marks": _marks(root)}
        fresh = self._directory / f"{_UNFINISHED}{uuid.uuid4().hex}"
        fresh.write_text(json.dumps(seal), encoding="utf-8")
        fresh.rename(_seal_of(root))

    def _collect(self, wanted: str) -> None:
        """Remove what is left of earlier uses; the caller holds the lock on all roots."""
        roots: list[Path] = []
        for entry in list(os.scandir(self._directory)):
            path = Path(entry.path)
            if entry.name.startswith((_UNFINISHED, _CHANGED)):
                if not remove_unused(path) and not path.is_dir():
                    path.unlink(missing_ok=True)
            elif entry.is_dir(follow_symlinks=False) and entry.name != wanted:
                roots.append(path)
        roots.sort(key=_last_use, reverse=True)
        for root in roots[_KEPT - 1 :]:
            if remove_unused(root):
                _seal_of(root).unlink(missing_ok=True)


def _hold(root: Path) -> int | None:
    """Return a lock that keeps a root from being collected; None if there is no such root."""
    try:
        lock = os.open(root, os.O_RDONLY | DIRECTORY | NO_FOLLOW)
    except FileNotFoundError:
        return None
    if not try_lock(lock, shared=True):
        os.close(lock)
        return None
    return lock


def _seal_of(root: Path) -> Path:
    return root.with_name(root.name + _SEAL)


def _sealed(root: Path) -> str | None:
    """Return what was noted when the root was unpacked; None if that does not count any more."""
    try:
        seal: object = json.loads(_seal_of(root).read_bytes())
    except (OSError, ValueError):
        return None
    match seal:
        case {"format": 1, "marks": str(marks)}:
            return marks
        case _:
            return None


def _marks(root: Path) -> str:
    """Return what changes with any entry of a tree, and with each start of this host."""
    digest = sha256(boot_id().encode())
    for line in _entries(root):
        digest.update(line)
    return digest.hexdigest()


def _entries(root: Path) -> Iterator[bytes]:
    top = os.fsencode(root)
    waiting = [top]
    while waiting:
        place = waiting.pop()
        with os.scandir(place) as found:
            entries = sorted(found, key=lambda entry: entry.name)
        for entry in entries:
            about = entry.stat(follow_symlinks=False)
            facts = (about.st_mode, about.st_uid, about.st_gid, about.st_size, about.st_dev)
            times = (about.st_ino, about.st_mtime_ns, about.st_ctime_ns)
            yield b"%s\0%s\n" % (entry.path[len(top) :], repr((*facts, *times)).encode())
            if entry.is_dir(follow_symlinks=False):
                waiting.append(entry.path)


def _last_use(root: Path) -> float:
    with suppress(OSError):
        return _seal_of(root).stat().st_mtime
    return 0.0
