"""Names that some file systems take for the same: they could make one change overwrite another.

macOS and Windows fold case, macOS also folds Unicode forms and ignores invisible characters; trees
travel between such systems by git and by share. A changeset that would put two such names into one
directory is not committed on any host.
Source: CVE-2014-9390 (".GIT", ".g<U+200C>it"), CVE-2021-21300; Unicode 16 section 3.13, D145.
"""

import unicodedata
from collections.abc import Mapping

from luminaguard.domain.changeset import Change
from luminaguard.errors import Unrepresentable
from luminaguard.workspace.base import Base
from luminaguard.workspace.measure.hostside import HostSide


def folded(name: str) -> str:
    """Return what a name is compared by: equal for names that some file system takes for one."""
    if name.isascii():
        return name.lower()
    visible = "".join(one for one in name if unicodedata.category(one) != "Cf")
    return unicodedata.normalize("NFD", unicodedata.normalize("NFD", visible).casefold())


def check_collisions(changes: Mapping[str, Change], base: Base, host: HostSide) -> None:
    """Refuse a changeset that would put two names that fold alike into one directory.

    Raises:
        Unrepresentable: a new name collides with another, or with one the host has.
    """
    made: dict[str, list[str]] = {}
    gone: dict[str, set[str]] = {}
    for path, change in changes.items():
        parent, _, name = path.rpartition("/")
        if change.before is None:
            made.setdefault(parent, []).append(name)
        elif change.after is None:
            gone.setdefault(parent, set()).add(name)
    for parent, names in made.items():
        listed = base.tree.get(parent, frozenset())
        kept = (listed | host.names(parent)) - gone.get(parent, set())
        seen = {folded(name): name for name in kept}
        for name in sorted(names):
            other = seen.setdefault(folded(name), name)
            if other != name:
                raise Unrepresentable(
                    f"{parent or '.'}: {name!a} and {other!a} are one name on file systems that "
                    "fold case or Unicode forms",
                    hint="let the command use names that differ in more than that",
                )
