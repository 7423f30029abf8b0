"""Which Python packages a project names, and in which files."""

import configparser
import re
from collections.abc import Iterator
from dataclasses import dataclass

from luminaguard.image.needs.files import ProjectFiles, strings_of, table_of
from luminaguard.image.needs.need import Need, NeedKind
from luminaguard.image.places import canonical_name

_NAMED = re.compile(
    r"\s*(?P<name>[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?)\s*(?:\[[^\]]*\])?"
    r"\s*\(?(?P<versions>[^;#@()]*)\)?\s*(?P<rest>[;@].*)?"
)
_FILES = re.compile(r"(?:.*[-_.])?(?:requirements|constraints)(?:[-_.].*)?\.(?:txt|in)")
_INCLUDE = re.compile(r"(?:-r|--requirement)(?:\s+|=)?(\S+)")
_COMMENT = re.compile(r"(^|\s)#.*$")
_FOLDERS = ("", "requirements")


@dataclass(frozen=True, slots=True, kw_only=True)
class PythonNeeds:
    """What a project's Python files name."""

    needs: tuple[Need, ...]
    files: tuple[str, ...]
    """Files that `--requirements` takes, and that name some of them."""


def python_needs(project: ProjectFiles) -> PythonNeeds:
    """Read requirement files, pyproject.toml, setup.cfg and tox.ini."""
    needs: list[Need] = []
    files: list[str] = []
    included: set[str] = set()
    for folder in _FOLDERS:
        for name in project.names(folder):
            path = f"{folder}/{name}" if folder else name
            if not name.endswith((".txt", ".in")) or not (folder or _FILES.fullmatch(name)):
                continue
            lines = [_COMMENT.sub("", line).strip() for line in project.lines(path)]
            included |= {match[1] for line in lines if (match := _INCLUDE.fullmatch(line))}
            found = [each for line in lines for each in _need(line, path)]
            if "constraints" not in name:
                needs += found
                files += [path] if found and name.endswith(".txt") else []
    declared = list(_pyproject(project))
    needs += declared
    files += (
        ["pyproject.toml"] if any(each.kind is NeedKind.DISTRIBUTION for each in declared) else []
    )
    needs += [*_setup(project), *_tox(project)]
    return PythonNeeds(
        needs=tuple(needs), files=tuple(path for path in files if path not in included)
    )


def _pyproject(project: ProjectFiles) -> Iterator[Need]:
    where = "pyproject.toml"
    top = project.toml(where)
    own = table_of(top.get("project"))
    lines = strings_of(own.get("dependencies"))
    for table in (own.get("optional-dependencies"), top.get("dependency-groups")):
        for group in table_of(table).values():
            lines += strings_of(group)
    name = canonical_name(str(own.get("name", "")))
    for line in lines:
        yield from (each for each in _need(line, where) if each.name != name)
    wanted = own.get("requires-python")
    if isinstance(wanted, str):
        yield Need(kind=NeedKind.PYTHON, name="python", where=where, versions=wanted)
    poetry = table_of(table_of(top.get("tool")).get("poetry"))
    groups = [table_of(each).get("dependencies") for each in table_of(poetry.get("group")).values()]
    for table in (poetry.get("dependencies"), poetry.get("dev-dependencies"), *groups):
        for named in table_of(table):
            if named != "python":
                yield from _need(named, f"{where} (poetry)")


def _setup(project: ProjectFiles) -> Iterator[Need]:
    sections = _ini(project, "setup.cfg")
    texts = [sections.get("options", {}).get("install_requires", "")]
    texts += sections.get("options.extras_require", {}).values()
    for text in texts:
        for line in text.split("\n"):
            yield from _need(line, "setup.cfg")


def _tox(project: ProjectFiles) -> Iterator[Need]:
    for section, table in _ini(project, "tox.ini").items():
        if section.startswith("testenv"):
            for line in table.get("deps", "").split("\n"):
                # "py311: pytest" holds for one environment only.
                yield from _need(line.rpartition(": ")[2], "tox.ini")


def _ini(project: ProjectFiles, path: str) -> dict[str, dict[str, str]]:
    parser = configparser.ConfigParser(interpolation=None, strict=False)
    try:
        parser.read_string(project.text(path) or "")
    except (configparser.Error, ValueError):
        return {}
    return {section: dict(parser.items(section)) for section in parser.sections()}


def _need(line: str, where: str) -> Iterator[Need]:
    text = _COMMENT.sub("", line).partition(" --hash")[0].rstrip("\\").strip()
    found = _NAMED.fullmatch(text)
    if found is None or text.startswith("-") or "{" in text:
        return
    rest = found["rest"] or ""
    yield Need(
        kind=NeedKind.DISTRIBUTION,
        name=canonical_name(found["name"]),
        where=where,
        versions=found["versions"].replace(" ", ""),
        is_conditional=rest.startswith(";"),
    )
