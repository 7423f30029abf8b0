"""Images as directories, for what mounts no disks: the host unpacks what it made itself.

Only images that the host built are unpacked: its own guest image, checked against its manifest,
and the workspace image, written from an explicit list of files.
"""

import os
import shutil
import subprocess
from pathlib import Path

from luminaguard.errors import HypervisorUnavailable, VmError
from luminaguard.vm.linux import read_at, user_id
from luminaguard.vm.owned import remove_tree

_LIMIT_S = 600.0
_SQUASHFS = b"hsqs"
_EROFS = bytes.fromhex("e2e1f5e0")
"""Source: Linux fs/squashfs/squashfs_fs.h at offset 0; fs/erofs/erofs_fs.h at offset 1024."""
_PLACES = ("/usr/local/bin", "/usr/bin", "/bin", "/usr/sbin", "/sbin")


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
    for entry in list(os.scandir(directory)):
        if entry.is_dir(follow_symlinks=False):
            remove_tree(Path(entry.path))
        else:
            os.unlink(entry.path)


def _tool(name: str, package: str) -> str:
    path = shutil.which(name, path=os.pathsep.join(_PLACES))
    if path is None:
        raise HypervisorUnavailable(
            f"{name} is missing, which unpacks images", hint=f"apt-get install {package}"
        )
    return path
