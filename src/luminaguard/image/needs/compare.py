"""What an image lacks of what a project needs, and the command that mends it."""

import re
import shlex
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from luminaguard.image.manifest import Manifest
from luminaguard.image.needs.files import ProjectFiles
from luminaguard.image.needs.need import Finding, Need, NeedKind, Status
from luminaguard.image.needs.node import LOCK, NodeNeeds, node_needs
from luminaguard.image.needs.packages import DEBIAN, OUTSIDE, WITH_NPM
from luminaguard.image.needs.programs import program_needs
from luminaguard.image.needs.python import PythonNeeds, python_needs

_EXACT = re.compile(r"===?([A-Za-z0-9.+!]+)")
_CLAUSE = re.compile(r"(>=|<=|>|<|==|~=|!=)\s*3\.(\d+)(\.\*|\.\d+)?")
_STARTS = frozenset({"python", "python3", "sh", "bash", "node"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What was found, sorted: missing first, then unknown, then present."""

    findings: tuple[Finding, ...]
    mend: str
    """The command that builds an image with all that can be added; empty if nothing can."""
    notes: tuple[str, ...]
    """What has to be done besides, in sentences."""

    @property
    def is_complete(self) -> bool:
        """Whether nothing is known to be missing."""
        return all(each.status is not Status.MISSING for each in self.findings)


def compare(root: Path, manifest: Manifest, image: str) -> Report:
    """Read a project's files and compare them with what an image has.

    `image` is the name that the mending command builds.

    Raises:
        ImageError: `root` is no directory.
    """
    project = ProjectFiles(root)
    python, node = python_needs(project), node_needs(project)
    needs = _once((*python.needs, *node.needs, *program_needs(project)))
    own = {Path(name).stem for name in project.names()} | set(project.names("scripts"))
    found = [_judged(need, manifest, own) for need in needs]
    found = [_brought_along(each, found) for each in found]
    rank = {Status.MISSING: 0, Status.UNKNOWN: 1, Status.PRESENT: 2}
    found.sort(key=lambda each: (rank[each.status], each.need.kind, each.need.name))
    missing = [each.need for each in found if each.status is Status.MISSING]
    return Report(
        findings=tuple(found),
        mend=_command(root, image, manifest, missing, python, node) if missing else "",
        notes=(*_stale(manifest), *_notes(missing, python, node)),
    )


def _once(needs: Iterable[Need]) -> list[Need]:
    """Keep the first of each kind and name; one that always holds before one that may."""
    first: dict[tuple[NeedKind, str], Need] = {}
    for need in needs:
        key = (need.kind, need.name)
        if key not in first or (first[key].is_conditional and not need.is_conditional):
            first[key] = need
    return list(first.values())


def _judged(need: Need, manifest: Manifest, own: set[str]) -> Finding:
    contents = manifest.contents
    if not contents.programs:
        return Finding(
            need=need, status=Status.UNKNOWN, detail="the image does not say what it has"
        )
    match need.kind:
        case NeedKind.PROGRAM:
            scripts = contents.node_commands if need.where == "package.json" else ()
            return _program(need, (*contents.programs, *scripts), own)
        case NeedKind.PYTHON:
            return _python(need, contents.python)
        case NeedKind.DISTRIBUTION:
            return _versioned(need, contents.distributions.get(need.name))
        case NeedKind.NODE_MODULE:
            return _versioned(need, "" if need.name in contents.node_modules else None)


def _program(need: Need, programs: tuple[str, ...], own: set[str]) -> Finding:
    if need.name in programs:
        return Finding(need=need, status=Status.PRESENT)
    if need.name in OUTSIDE:
        return Finding(need=need, status=Status.UNKNOWN, detail=OUTSIDE[need.name])
    if need.name in DEBIAN or need.name in WITH_NPM:
        return Finding(need=need, status=Status.MISSING)
    detail = "a file of the project" if need.name in own else "no package is known that brings it"
    return Finding(need=need, status=Status.UNKNOWN, detail=detail)


def _brought_along(finding: Finding, found: list[Finding]) -> Finding:
    """A program that no package is known for, but a needed library is called the same."""
    need = finding.need
    if need.kind is NeedKind.PROGRAM and finding.status is Status.UNKNOWN:
        for each in found:
            is_library = each.need.kind in {NeedKind.DISTRIBUTION, NeedKind.NODE_MODULE}
            if is_library and each.need.name == need.name:
                return replace(finding, status=each.status, detail=f"comes with {need.name}")
    return finding


def _python(need: Need, version: str) -> Finding:
    """Compare the minor version with `requires-python`, clause by clause."""
    minor = int(version.partition(".")[2] or 0)
    for clause in need.versions.split(","):
        found = _CLAUSE.fullmatch(clause.strip())
        if found is None:
            return Finding(need=need, status=Status.UNKNOWN, detail=f"the image has {version}")
        if not _holds(found[1], minor, int(found[2]), wild=found[3] == ".*" or not found[3]):
            return Finding(need=need, status=Status.MISSING, detail=f"the image has {version}")
    return Finding(need=need, status=Status.PRESENT, detail=f"the image has {version}")


def _holds(operator: str, have: int, want: int, *, wild: bool) -> bool:
    match operator:
        case ">=" | "~=":
            return have >= want
        case ">":
            return have > want or (have == want and not wild)
        case "<=":
            return have <= want
        case "<":
            return have < want or (have == want and not wild)
        case "==":
            return have == want
        case _:
            return have != want or not wild


def _versioned(need: Need, have: str | None) -> Finding:
    """Judge a package; only an exact version is compared."""
    if have is None:
        status = Status.UNKNOWN if need.is_conditional else Status.MISSING
        detail = "needed only on some systems or versions" if need.is_conditional else ""
        return Finding(need=need, status=status, detail=detail)
    exact = _EXACT.fullmatch(need.versions)
    if have and exact and exact[1] != have:
        return Finding(need=need, status=Status.MISSING, detail=f"the image has {have}")
    return Finding(need=need, status=Status.PRESENT, detail=have)


def _command(
    root: Path,
    image: str,
    manifest: Manifest,
    missing: list[Need],
    python: PythonNeeds,
    node: NodeNeeds,
) -> str:
    """Return a command that keeps what the image has and adds what is missing."""
    has_npm = bool(manifest.contents.node_modules)
    wants_npm = any(each.kind is NeedKind.NODE_MODULE or each.name in WITH_NPM for each in missing)
    lock = node.lock if wants_npm or has_npm else ""
    brought = {"node", *WITH_NPM, *_STARTS} if lock else _STARTS
    packages = {
        DEBIAN[each.name]
        for each in missing
        if each.kind is NeedKind.PROGRAM and each.name in DEBIAN and each.name not in brought
    }
    if not lock and any(each.name == "node" for each in missing):
        packages.add("nodejs")
    packages |= set(manifest.asked)
    words = [*("luminaguard", "image", "build", image)]
    words += [word for name in sorted(packages) for word in ("--package", name)]
    words += [word for file in python.files for word in ("--requirements", str(root / file))]
    words += ["--npm", str(root / lock)] if lock else []
    return shlex.join(words) if len(words) > 4 else ""


def _stale(manifest: Manifest) -> Iterator[str]:
    if not manifest.contents.programs:
        yield "the image is by an older LuminaGuard and does not say what it has: build it again"


def _notes(missing: list[Need], python: PythonNeeds, node: NodeNeeds) -> Iterator[str]:
    kinds = {each.kind for each in missing}
    if NeedKind.PYTHON in kinds:
        yield "the guest's Python is the distribution's: build the image on one with a newer Python"
    unlisted = sorted(
        {
            each.name
            for each in missing
            if each.kind is NeedKind.DISTRIBUTION
            and each.where not in python.files
            and not _is_included(each.where, python)
        }
    )
    if unlisted:
        yield f"name these in a requirements file and add --requirements FILE: {' '.join(unlisted)}"
    wants_npm = NeedKind.NODE_MODULE in kinds or any(each.name in WITH_NPM for each in missing)
    if wants_npm and not node.lock:
        why = f"{node.other_lock} cannot be read; " if node.other_lock else ""
        yield f"{why}make a {LOCK} and add --npm {LOCK}: npm install --package-lock-only"


def _is_included(where: str, python: PythonNeeds) -> bool:
    """Whether a requirement file comes with another one that includes it."""
    return where.endswith(".txt") and bool(python.files)
