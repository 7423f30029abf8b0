"""Installing a wheel: its files, its commands, its data. Source: PEP 427, PEP 491.

What pip would add besides (who installed it, from where) is left out: it differs from build to
build. No code of the wheel is run.
"""

import configparser
import re
import zipfile
from pathlib import Path, PurePosixPath

from luminaguard.image.inside.unusable import Unusable

_LOCAL = "usr/local"
_SCRIPT = """\
#!/usr/bin/python3
import re
import sys
from {module} import {first}
if __name__ == "__main__":
    sys.argv[0] = re.sub(r"(-script\\.pyw|\\.exe)?$", "", sys.argv[0])
    sys.exit({function}())
"""
_ENTRY = re.compile(r"([\w.]+)\s*:\s*([\w.]+)\s*(?:\[.*\])?")
_COMMAND = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._+-]*")


def install_wheel(wheel: Path, out: Path, python: str) -> None:
    """Install a wheel below `out`, for the Python of this version ("3.11").

    Raises:
        Unusable: it is damaged, or names files outside of it.
    """
    try:
        with zipfile.ZipFile(wheel) as archive:
            for member in sorted(archive.infolist(), key=lambda each: each.filename):
                if not member.is_dir():
                    _install(archive, member, out, python)
            _commands(archive, out)
    except (zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError, OSError) as error:
        raise Unusable(f"{wheel.name} cannot be unpacked: {error}") from error


def _install(archive: zipfile.ZipFile, member: zipfile.ZipInfo, out: Path, python: str) -> None:
    content = archive.read(member)
    place, is_script = _place(_checked(member.filename), python)
    if is_script and content.startswith(b"#!python"):
        content = b"#!/usr/bin/python3" + content[content.index(b"\n") :]
    is_program = bool(member.external_attr >> 16 & 0o111)
    _write(out / place, content, executable=is_script or is_program)


def _place(path: PurePosixPath, python: str) -> tuple[str, bool]:
    """Return where a member belongs, and whether it is a command."""
    packages = f"{_LOCAL}/lib/python{python}/dist-packages"
    if len(path.parts) < 3 or not path.parts[0].endswith(".data"):
        return f"{packages}/{path}", False
    name = path.parts[0].rpartition("-")[0]
    rest = "/".join(path.parts[2:])
    places = {
        "purelib": packages,
        "platlib": packages,
        "scripts": f"{_LOCAL}/bin",
        "data": _LOCAL,
        "headers": f"{_LOCAL}/include/python{python}/{name}",
    }
    if path.parts[1] not in places:
        raise Unusable(f"{path} is of a kind that no wheel has")
    return f"{places[path.parts[1]]}/{rest}", path.parts[1] == "scripts"


def _checked(name: str) -> PurePosixPath:
    path = PurePosixPath(name)
    if name.startswith("/") or "\\" in name or "\0" in name or ".." in path.parts:
        raise Unusable(f"{name!a} lies outside of its wheel")
    return path


def _commands(archive: zipfile.ZipFile, out: Path) -> None:
    """Write a script for each console entry point. Source: PyPA, "Entry points specification"."""
    listed = [name for name in archive.namelist() if name.endswith(".dist-info/entry_points.txt")]
    for name in listed:
        entries = configparser.ConfigParser(delimiters=("=",), interpolation=None)
        entries.optionxform = str  # type: ignore[assignment,method-assign]
        try:
            entries.read_string(archive.read(name).decode())
        except (configparser.Error, UnicodeDecodeError) as error:
            raise Unusable(f"{name} cannot be read: {error}") from error
        for section in ("console_scripts", "gui_scripts"):
            for command, entry in sorted(entries[section].items() if section in entries else ()):
                found = _ENTRY.fullmatch(entry.strip())
                if found is None or not _COMMAND.fullmatch(command):
                    raise Unusable(f"{name}: {command} = {entry} is no entry point")
                module, function = found.groups()
                script = _SCRIPT.format(
                    module=module, first=function.partition(".")[0], function=function
                )
                _write(out / _LOCAL / "bin" / command, script.encode(), executable=True)


def _write(path: Path, content: bytes, *, executable: bool) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    path.write_bytes(content)
    path.chmod(0o755 if executable else 0o644)
