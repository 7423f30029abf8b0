"""Requirement files, read so that nothing in them can make this host run a project's code.

pip would build whatever a line names by address, path or version control, and take its index from
the file: such lines are refused. What is left are names, versions, markers and hashes, which is
written out anew for pip.
"""

import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from luminaguard.errors import ImageError
from luminaguard.image.additions.pyproject import declared

_MAX_BYTES = 1 << 20
_MAX_DEPTH = 16
_MAX_LINES = 20_000
_SHOWN = 80

# Source: PEP 508, "Names", "Extras", "Versions" and "Environment Markers". A direct reference
# (name @ address) does not fit.
_REQUIREMENT = re.compile(
    r"""
    (?P<name>[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?)
    \s*(?P<extras>\[[A-Za-z0-9._,\s-]*\])?
    \s*(?P<versions>\(?(?:(?:===|~=|==|!=|<=|>=|<|>)\s*[A-Za-z0-9._*+!-]+\s*,?\s*)*\)?)
    \s*(?:;(?P<marker>(?:\s*(?:[()]|[<>=!~]=?=?|"[^"]*"|'[^']*'|[a-z_]+))+))?
    """,
    re.VERBOSE,
)
_HASH = re.compile(r"--hash[=\s]\s*(sha256:[0-9a-f]{64}|sha384:[0-9a-f]{96}|sha512:[0-9a-f]{128})")
_COMMENT = re.compile(r"(^|\s)#.*$")
_INCLUDE = re.compile(r"(-r|--requirement|-c|--constraint)(?:\s+|=)?(?P<path>\S.*)")
_HARMLESS = re.compile(
    r"--(require-hashes|prefer-binary|pre|only-binary(\s+|=)\S+|no-cache-dir)\s*"
)
_INDEX = re.compile(
    r"(-i|-f|--index-url|--extra-index-url|--no-index|--find-links|--trusted-host)\b"
)
_DIRECT = re.compile(r"^(-e|--editable)\b|^[a-z]+(\+[a-z]+)?:|^\.{0,2}/|^\.{1,2}$|\s@\s|\.whl$|://")


@dataclass(frozen=True, slots=True, kw_only=True)
class Requirements:
    """What is asked of pip: lines that name distributions, and nothing else."""

    lines: tuple[str, ...] = ()
    constraints: tuple[str, ...] = ()
    allows_prereleases: bool = False

    @property
    def names(self) -> tuple[str, ...]:
        """The distributions that are named, as written."""
        return tuple(re.split(r"[^A-Za-z0-9._-]", line, maxsplit=1)[0] for line in self.lines)


@dataclass(slots=True)
class _Gathered:
    lines: list[str] = field(default_factory=list[str])
    constraints: list[str] = field(default_factory=list[str])
    allows_prereleases: bool = False


def read_requirements(files: tuple[Path, ...]) -> Requirements:
    """Read requirement files with all that they include.

    Of a `pyproject.toml`, the project's dependencies are taken, with all extras and groups.

    Raises:
        ImageError: a file cannot be read, or a line cannot be taken; the message names both.
    """
    gathered = _Gathered()
    for file in files:
        _read(file, gathered, (), constraint=False)
    if files and not gathered.lines:
        raise ImageError(f"{files[0]} names no requirement", hint="add one, or leave it out")
    return Requirements(
        lines=tuple(sorted(set(gathered.lines))),
        constraints=tuple(sorted(set(gathered.constraints))),
        allows_prereleases=gathered.allows_prereleases,
    )


def logical_lines(text: str) -> Iterator[tuple[int, str]]:
    """Yield (number, text) of lines: no comments, no empty ones, continued ones joined."""
    pending, first = "", 0
    for number, line in enumerate(text.split("\n"), start=1):
        first = first if pending else number
        bare = line.rstrip("\r")
        if bare.endswith("\\") and not bare.lstrip().startswith("#"):
            pending += bare[:-1]
            continue
        whole = _COMMENT.sub("", pending + bare).strip()
        pending = ""
        if whole:
            yield first, whole
    if _COMMENT.sub("", pending).strip():
        yield first, _COMMENT.sub("", pending).strip()


def _read(file: Path, gathered: _Gathered, above: tuple[Path, ...], *, constraint: bool) -> None:
    file = file.resolve()
    if file in above:
        return
    if file.name == "pyproject.toml":
        for line in declared(_text(file), str(file)):
            gathered.lines.append(_line(line, str(file)))
        return
    if len(above) >= _MAX_DEPTH:
        raise ImageError(f"{file}: requirement files include each other {_MAX_DEPTH} levels deep")
    for number, line in logical_lines(_text(file)):
        where = f"{file}:{number}"
        include = _INCLUDE.fullmatch(line)
        if include is not None:
            is_constraint = constraint or include[1] in {"-c", "--constraint"}
            nested = file.parent / include["path"]
            _read(nested, gathered, (*above, file), constraint=is_constraint)
        elif line.startswith("-"):
            _option(line, where, gathered)
        else:
            (gathered.constraints if constraint else gathered.lines).append(_line(line, where))
        if len(gathered.lines) + len(gathered.constraints) > _MAX_LINES:
            raise ImageError(f"{file}: more than {_MAX_LINES} requirements")


def _text(file: Path) -> str:
    try:
        status = file.stat()
        if not stat.S_ISREG(status.st_mode):
            raise ImageError(f"{file} is no regular file")
        if status.st_size > _MAX_BYTES:
            raise ImageError(f"{file} is larger than {_MAX_BYTES} bytes: no requirement file is")
        return file.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise ImageError(f"{file} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError:
        raise ImageError(f"{file} is not UTF-8 text", hint="save it as UTF-8") from None


def _option(line: str, where: str, gathered: _Gathered) -> None:
    if _HARMLESS.fullmatch(line):
        gathered.allows_prereleases |= line.startswith("--pre") and "binary" not in line
        return
    if _INDEX.match(line):
        raise ImageError(
            f"{where}: a requirement file may not say where packages come from",
            hint="take the line out, and set the index in pip's own configuration: pip config set",
        )
    if _DIRECT.search(line):
        raise _direct(line, where)
    raise ImageError(f"{where}: {_shown(line)} is no option that an image can take")


def _line(line: str, where: str) -> str:
    hashes = _HASH.findall(line)
    bare = _HASH.sub("", line).strip()
    found = _REQUIREMENT.fullmatch(bare)
    if found is None:
        if _DIRECT.search(bare):
            raise _direct(bare, where)
        raise ImageError(
            f"{where}: {_shown(bare)} is no requirement",
            hint="write a name, and versions if you like: flask >= 3, < 4",
        )
    marker = f" ; {found['marker'].strip()}" if found["marker"] else ""
    extras = re.sub(r"\s", "", found["extras"] or "")
    versions = re.sub(r"[\s()]", "", found["versions"]).rstrip(",")
    return " ".join(
        [f"{found['name']}{extras}{versions}{marker}", *(f"--hash={each}" for each in hashes)]
    )


def _direct(line: str, where: str) -> ImageError:
    return ImageError(
        f"{where}: {_shown(line)} names a source tree or an address, which would have to be built "
        "by running its code on this host",
        hint="name a version that has a wheel; the project itself needs no line: its files are "
        "in the machine anyway",
    )


def _shown(line: str) -> str:
    return ascii(line if len(line) <= _SHOWN else line[:_SHOWN] + "…")
