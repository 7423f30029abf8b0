"""What maintainer scripts would have made: users, links, configuration and mount points."""

from collections.abc import Iterable

from luminaguard.image.deb import Alternative
from luminaguard.image.tree import Tree, merged

GUEST_USER = "guest"
GUEST_UID = 1000

_MOUNT_POINTS = (
    "dev", "home", "media", "mnt", "opt", "proc", "root", "run", "srv", "sys", "tmp", "var/cache",
    "var/lib", "var/log", "var/tmp",
)  # fmt: skip

_PASSWD = f"""\
root:x:0:0:root:/root:/bin/bash
daemon:x:1:1:daemon:/usr/sbin:/usr/sbin/nologin
{GUEST_USER}:x:{GUEST_UID}:{GUEST_UID}::/home/{GUEST_USER}:/bin/bash
nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin
"""

_GROUP = f"""\
root:x:0:
daemon:x:1:
tty:x:5:
disk:x:6:
{GUEST_USER}:x:{GUEST_UID}:
nogroup:x:65534:
"""

_FILES = {
    "etc/passwd": _PASSWD,
    "etc/group": _GROUP,
    "etc/hostname": "luminaguard\n",
    "etc/hosts": "127.0.0.1 localhost luminaguard\n::1 localhost\n",
    "etc/nsswitch.conf": "passwd: files\ngroup: files\nhosts: files\n",
    "etc/resolv.conf": "",  # no network: a name that is not in /etc/hosts has no address
    "etc/fstab": "",
    "etc/environment": "LANG=C.UTF-8\n",
    "etc/gitconfig": "[safe]\n\tdirectory = *\n",
    # Empty on purpose: every clone of a template must not share an identity.
    "etc/machine-id": "",
    "etc/timezone": "Etc/UTC\n",
}

_LINKS = {
    "etc/localtime": "/usr/share/zoneinfo/Etc/UTC",
    "etc/mtab": "/proc/self/mounts",
    "usr/bin/python": "python3",
    "var/run": "/run",
    "var/lock": "/run/lock",
}

# Names that people type, for what packages ship under another name.
_FALLBACKS = {
    "usr/bin/sh": ("usr/bin/dash", "usr/bin/bash"),
    "usr/bin/pytest": ("usr/bin/pytest-3",),
}


def furnish(tree: Tree, alternatives: Iterable[Alternative]) -> None:
    """Add what makes a root directory of unpacked packages usable."""
    for path in _MOUNT_POINTS:
        tree.directory(path)
    tree.directory("root", mode=0o700)
    for path in ("tmp", "var/tmp"):
        tree.directory(path, mode=0o1777)
    tree.directory(f"home/{GUEST_USER}")
    for path, content in _FILES.items():
        tree.file(path, content.encode())
    for path, target in _LINKS.items():
        tree.symlink(path, target)
    _choose(tree, alternatives)
    for link, candidates in _FALLBACKS.items():
        found = [candidate for candidate in candidates if candidate in tree]
        if found and link not in tree:
            tree.symlink(link, f"/{found[0]}")


def _choose(tree: Tree, alternatives: Iterable[Alternative]) -> None:
    """Link each alternative to its present target of the highest priority; first one wins a tie."""
    best: dict[str, Alternative] = {}
    for each in alternatives:
        link, target = merged(each.link), merged(each.target)
        if target not in tree or link in tree:
            continue
        if link not in best or each.priority > best[link].priority:
            best[link] = each
    for link, each in best.items():
        tree.symlink(link, f"/{merged(each.target)}")
