"""Which npm packages a project names, and which lock holds them."""

from collections.abc import Iterator
from dataclasses import dataclass

from luminaguard.image.needs.files import ProjectFiles, table_of
from luminaguard.image.needs.need import Need, NeedKind

LOCK = "package-lock.json"
_OTHER_LOCKS = ("npm-shrinkwrap.json", "yarn.lock", "pnpm-lock.yaml", "bun.lock", "bun.lockb")
_LOCAL = ("file:", "link:", "workspace:", "portal:")


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeNeeds:
    """What a project's package.json names."""

    needs: tuple[Need, ...] = ()
    lock: str = ""
    """The lock that `--npm` takes; empty if there is none."""
    other_lock: str = ""
    """A lock of another package manager."""


def node_needs(project: ProjectFiles) -> NodeNeeds:
    """Read package.json; its lock is looked for, not read."""
    names = project.names()
    if "package.json" not in names:
        return NodeNeeds()
    others = [name for name in _OTHER_LOCKS if name in names]
    return NodeNeeds(
        needs=tuple(_named(project)),
        lock=LOCK if LOCK in names else "",
        other_lock=others[0] if others else "",
    )


def _named(project: ProjectFiles) -> Iterator[Need]:
    where = "package.json"
    table = project.json(where)
    yield Need(kind=NeedKind.PROGRAM, name="node", where=where)
    for section in ("dependencies", "devDependencies", "optionalDependencies"):
        for name, versions in table_of(table.get(section)).items():
            if not isinstance(versions, str) or versions.startswith(_LOCAL):
                continue
            yield Need(
                kind=NeedKind.NODE_MODULE,
                name=name,
                where=where,
                versions=versions,
                is_conditional=section == "optionalDependencies",
            )
