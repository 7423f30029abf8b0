"""Kernel modules: which files a driver needs, and in what order they load.

The packages are only unpacked, so there is no `modules.dep`: what a module depends on is read
from the module itself (`.modinfo`), and what needs no module from `modules.builtin`.
"""

import gzip
import lzma
import re
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from luminaguard.errors import ImageError

_SUFFIXES = (".ko", ".ko.gz", ".ko.xz", ".ko.zst")


@dataclass(frozen=True, slots=True, kw_only=True)
class ModuleSet:
    """What must be loaded, in order, and what the kernel already has."""

    files: tuple[tuple[str, bytes], ...]
    """(name, uncompressed module), in load order."""
    builtin: tuple[str, ...]


class ModuleLibrary:
    """The modules of one kernel, unpacked below `lib/modules/VERSION`."""

    def __init__(self, directory: Path) -> None:
        """Index `directory`, which holds `kernel/` and `modules.builtin`."""
        self._paths = {
            _name(path.name): path
            for path in sorted((directory / "kernel").rglob("*.ko*"))
            if path.name.endswith(_SUFFIXES)
        }
        builtin = (directory / "modules.builtin").read_text(encoding="utf-8").split()
        self._builtin = frozenset(_name(Path(line).name) for line in builtin)

    def resolve(self, names: Iterable[str], optional: Iterable[str] = ()) -> ModuleSet:
        """Return the modules with all they depend on.

        Raises:
            ImageError: a module is neither a file nor built in.
        """
        loaded: dict[str, bytes] = {}
        builtin: set[str] = set()
        for name in optional:
            if name in self._paths:
                self._load(name, loaded, builtin)
            elif name in self._builtin:
                builtin.add(name)
        for name in names:
            self._load(name, loaded, builtin)
        return ModuleSet(files=tuple(loaded.items()), builtin=tuple(sorted(builtin)))

    def _load(self, name: str, loaded: dict[str, bytes], builtin: set[str]) -> None:
        if name in loaded:
            return
        path = self._paths.get(name)
        if path is None:
            if name not in self._builtin:
                raise ImageError(f"the guest kernel has no module {name}")
            builtin.add(name)
            return
        content = decompressed(path)
        for needed in dependencies(content):
            self._load(needed, loaded, builtin)
        loaded[name] = content


def dependencies(module: bytes) -> tuple[str, ...]:
    """Return the names of the modules that must be loaded before this one."""
    # .modinfo is a section of NUL-terminated "key=value" strings.
    found = re.search(rb"\0depends=([\w,-]*)\0", module)
    names = found.group(1).decode().split(",") if found else []
    return tuple(_name(name) for name in names if name)


def decompressed(path: Path) -> bytes:
    """Read a module file, whatever compression the distribution uses.

    Raises:
        ImageError: the file is damaged, or the tool that unpacks it is missing.
    """
    content = path.read_bytes()
    try:
        match path.suffix:
            case ".xz":
                return lzma.decompress(content)
            case ".gz":
                return gzip.decompress(content)
            case ".zst":
                return _zstd(content)
            case _:
                return content
    except (lzma.LZMAError, gzip.BadGzipFile, EOFError, subprocess.CalledProcessError) as error:
        raise ImageError(f"the kernel module {path.name} is damaged: {error}") from error


def _zstd(content: bytes) -> bytes:
    # The standard library reads Zstandard from Python 3.14 on.
    command = ["zstd", "-dcq"]
    try:
        return subprocess.run(command, input=content, check=True, capture_output=True).stdout
    except FileNotFoundError:
        raise ImageError(
            "zstd is not installed; this kernel's modules need it", hint="apt-get install zstd"
        ) from None


def _name(file_name: str) -> str:
    return file_name.split(".", 1)[0].replace("-", "_")
