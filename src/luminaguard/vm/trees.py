"""Images as directories, for what mounts no disks: the host unpacks what it made itself.

Only images that the host built are unpacked: its own guest image, checked against its manifest,
and the workspace image, written from an explicit list of files.
"""

import os
import shutil
import subprocess
import uuid
from pathlib import Path

from luminaguard.errors import HypervisorUnavailable, ImageError, VmError
from luminaguard.image.image import GuestImage
from luminaguard.vm.directories import make_private
from luminaguard.vm.imagecheck import ImageCheck
from luminaguard.vm.linux import read_at, user_id

_ROOTS = "roots"
_LIMIT_S = 600.0
_SQUASHFS = b"hsqs"
_EROFS = bytes.fromhex("e2e1f5e0")
"""Source: Linux fs/squashfs/squashfs_fs.h at offset 0; fs/erofs/erofs_fs.h at offset 1024."""
_PLACES = ("/usr/local/bin", "/usr/bin", "/bin", "/usr/sbin", "/sbin")


class Roots:
    """Unpacked guest images in the cache directory: one for all machines, written once."""

    def __init__(self, cache_dir: Path) -> None:
        """Keep them in `cache_dir`, in a directory that only this user may enter."""
        self._directory = cache_dir / _ROOTS
        self._check = ImageCheck()

    def of(self, image: GuestImage) -> Path:
        """Return the image's root as a directory; unpack it first if need be. Blocking.

        Raises:
            ImageError: the image is not what its manifest says.
            HypervisorUnavailable: the tool that unpacks it is missing.
        """
        root = self._directory / image.digest
        if root.is_dir():
            return root
        self._check.require(image)
        if not make_private(self._directory):
            raise VmError(
                f"others may enter {self._directory}", hint=f"chmod 700 {self._directory}"
            )
        unfinished = self._directory / f".unpacking-{uuid.uuid4().hex}"
        try:
            fd = os.open(image.rootfs, os.O_RDONLY)
            try:
                unpack(fd, unfinished)
            finally:
                os.close(fd)
            try:
                unfinished.rename(root)
            except OSError:
                if not root.is_dir():  # another process may have been faster
                    raise
        except OSError as problem:
            raise ImageError(f"the image cannot be unpacked: {problem}") from problem
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)
        return root


def unpack(image_fd: int, target: Path) -> None:
    """Unpack a squashfs or EROFS image into `target`. Blocking.

    Owners are kept where this process is root; otherwise everything is the caller's.

    Raises:
        HypervisorUnavailable: the tool is missing.
        VmError: it is neither of them, or does not unpack.
    """
    place = f"/proc/self/fd/{image_fd}"
    if read_at(image_fd, 4, 0) == _SQUASHFS:
        options = ["-no-progress", "-quiet", "-no-xattrs", "-force", "-dest", str(target)]
        command = [_tool("unsquashfs", "squashfs-tools"), *options, place]
    elif read_at(image_fd, 4, 1024) == _EROFS:
        owners = "--preserve-owner" if user_id() == 0 else "--no-preserve-owner"
        options = [f"--extract={target}", "--overwrite", "--preserve-perms", owners]
        command = [_tool("fsck.erofs", "erofs-utils"), *options, place]
    else:
        raise VmError("the workspace image is neither squashfs nor EROFS")
    try:
        made = subprocess.run(
            command,
            pass_fds=(image_fd,),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_LIMIT_S,
            check=False,
            env={"LC_ALL": "C"},
        )
    except subprocess.TimeoutExpired as problem:
        raise VmError(f"an image was not unpacked within {_LIMIT_S:.0f} s") from problem
    if made.returncode:
        said = made.stderr.decode(errors="replace").strip()[-500:]
        raise VmError(f"an image could not be unpacked: {said}")


def empty(directory: Path) -> None:
    """Remove what is in a directory, and keep the directory itself: it is mounted. Blocking."""
    for entry in os.scandir(directory):
        if entry.is_dir(follow_symlinks=False):
            shutil.rmtree(entry.path)
        else:
            os.unlink(entry.path)


def _tool(name: str, package: str) -> str:
    path = shutil.which(name, path=os.pathsep.join(_PLACES))
    if path is None:
        raise HypervisorUnavailable(
            f"{name} is missing, which unpacks images", hint=f"apt-get install {package}"
        )
    return path
