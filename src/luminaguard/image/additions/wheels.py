"""Choosing and fetching wheels with pip, in the guest's own Python, from the host's index.

The index, proxies and certificates are those of the host's pip configuration; nothing of it is
kept. What was chosen is remembered, so that the same image can be built without a network.
"""

import hashlib
import json
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.resources import as_file, files
from pathlib import Path

from luminaguard.errors import ImageError
from luminaguard.image import space
from luminaguard.image.additions.pipalone import REFUSAL
from luminaguard.image.additions.pipcomplaints import Complaint, complaint_of, misses_index
from luminaguard.image.additions.requirements import Requirements
from luminaguard.image.guestpython import GuestPython

MAX_FILE_BYTES = 2 << 30
"""No wheel may be larger. The largest that projects really use hold GPU libraries, about 1 GB."""
_TIMEOUT_S = 1800.0
_ASKING_S = 120.0
# Source: PEP 427, "File name convention".
_FILE = re.compile(r"([A-Za-z0-9._]+)-([A-Za-z0-9._!+]+)(?:-\d[^-]*)?-[^-]+-[^-]+-[^-]+\.whl")
# pip names a line of the file that was written for it.
_LINE = re.compile(r"-r \S+ \(line (\d+)\)")
_PIP_CACHE = "pip"
_NOT_PASSED = ("PYTHON", "LD_", "VIRTUAL_ENV")


@dataclass(frozen=True, slots=True, kw_only=True)
class Wheel:
    """One fetched wheel."""

    name: str
    version: str
    sha256: str
    path: Path


class Wheels:
    """A cache of wheels by hash, and of what was chosen for which requirements."""

    def __init__(
        self,
        directory: Path,
        *,
        pip: Path,
        python: GuestPython,
        max_file_bytes: int = MAX_FILE_BYTES,
    ) -> None:
        """Keep wheels in `directory`; `pip` is pip's own wheel, run by `python`."""
        self._directory = directory
        self._pip = pip
        self._python = python
        self._max_file_bytes = max_file_bytes

    def choose(self, requirements: Requirements) -> tuple[tuple[Wheel, ...], bool]:
        """Fetch wheels that meet the requirements and all that those need.

        Returns them sorted by file name, and whether they were chosen just now: where an index
        does not answer, an earlier choice for the same requirements is taken.

        Raises:
            ImageError: something has no wheel for the guest, is unknown, contradicts or is too
                large, or the index cannot be reached.
        """
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        note = self._directory / f"{self._key(requirements)}.json"
        with tempfile.TemporaryDirectory(dir=self._directory, prefix=".fetching-") as place:
            result = self._download(requirements, Path(place))
            words = result.stderr.decode(errors="replace")
            # One silent index of several is enough: pip would choose from what is left.
            if misses_index(words) and (kept := self._remembered(note)):
                return kept, False
            if result.returncode == 0:
                chosen = self._taken(Path(place) / "wheels")
                _remember(note, chosen)
                return chosen, True
        complaint = complaint_of(words)
        raise self._explained(complaint, requirements)

    def _download(
        self, requirements: Requirements, place: Path
    ) -> subprocess.CompletedProcess[bytes]:
        (place / "wheels").mkdir()
        wanted = place / "requirements.txt"
        wanted.write_text("".join(f"{line}\n" for line in requirements.lines), encoding="utf-8")
        arguments = ["download", "--dest", str(place / "wheels"), "--requirement", str(wanted)]
        if requirements.constraints:
            limits = place / "constraints.txt"
            limits.write_text("".join(f"{line}\n" for line in requirements.constraints))
            arguments += ["--constraint", str(limits)]
        if requirements.allows_prereleases:
            arguments.append("--pre")
        return self._run(*arguments, "--only-binary", ":all:", temporary=place, limit_s=_TIMEOUT_S)

    def _run(
        self, *arguments: str, temporary: Path, limit_s: float
    ) -> subprocess.CompletedProcess[bytes]:
        common = ("--no-input", "--disable-pip-version-check", "--no-color", "--retries", "3")
        environment = {
            name: value for name, value in os.environ.items() if not name.startswith(_NOT_PASSED)
        }
        environment |= {"TMPDIR": str(temporary), "PIP_PROGRESS_BAR": "off"}
        environment |= {"PIP_CACHE_DIR": str(self._directory / _PIP_CACHE)}
        script = files("luminaguard.image.additions") / "pipalone.py"
        try:
            with as_file(script) as path:
                return self._python.run(
                    *(str(path), str(self._pip), str(self._max_file_bytes)),
                    *arguments,
                    *common,
                    environment=environment,
                    timeout_s=limit_s,
                )
        except subprocess.TimeoutExpired:
            raise ImageError(
                f"pip did not end within {limit_s:.0f} s",
                hint="check the network and the index: pip config list",
            ) from None

    def _taken(self, place: Path) -> tuple[Wheel, ...]:
        """Move what pip brought into the cache."""
        return tuple(self._take(path) for path in sorted(place.iterdir()))

    def _take(self, path: Path) -> Wheel:
        named = _FILE.fullmatch(path.name)
        if named is None:
            raise ImageError(f"pip brought {path.name!a}, which is no wheel")
        with path.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
        home = self._directory / digest
        home.mkdir(mode=0o700, exist_ok=True)
        path.replace(home / path.name)
        return Wheel(name=named[1], version=named[2], sha256=digest, path=home / path.name)

    def _key(self, requirements: Requirements) -> str:
        facts = [requirements.lines, requirements.constraints, requirements.allows_prereleases]
        facts += [self._python.version, self._pip.name]
        return hashlib.sha256(json.dumps(facts).encode()).hexdigest()

    def _remembered(self, note: Path) -> tuple[Wheel, ...] | None:
        """Return an earlier choice if every one of its wheels is here and undamaged."""
        try:
            chosen = [self._kept(each) for each in json.loads(note.read_bytes())]
        except (OSError, ValueError, TypeError, KeyError):
            return None
        return tuple(each for each in chosen if each) if all(chosen) else None

    def _kept(self, noted: dict[str, str]) -> Wheel | None:
        named = _FILE.fullmatch(noted["file"])
        path = self._directory / noted["sha256"] / noted["file"]
        with path.open("rb") as stream:
            if hashlib.file_digest(stream, "sha256").hexdigest() != noted["sha256"]:
                return None
        return named and Wheel(name=named[1], version=named[2], sha256=noted["sha256"], path=path)

    def _explained(self, complaint: Complaint, requirements: Requirements) -> ImageError:
        if complaint.is_full_disk:
            return space.full()
        if complaint.is_too_large:
            return ImageError(
                f"a required package is larger than {self._max_file_bytes >> 20} MiB",
                hint="ask for a smaller variant of it, or leave it out",
            )
        if complaint.unmet and self._has_only_source(complaint.unmet):
            return ImageError(
                f"{complaint.unmet} has no wheel for the guest's Python {self._python.version}: it "
                "would have to be built, which runs its code on this host",
                hint="ask for a version that has one, or for a Debian package: --package "
                "python3-NAME; or build the wheel in a machine and give pip its directory: "
                "pip config set global.find-links DIR",
            )
        message = _LINE.sub(lambda line: _quoted(line[1], requirements), complaint.message)
        return ImageError(message, hint=complaint.hint)

    def _has_only_source(self, requirement: str) -> bool:
        """Whether pip would build it, were it let: it is stopped where it starts to."""
        with tempfile.TemporaryDirectory(dir=self._directory, prefix=".asking-") as place:
            arguments = ("download", "--no-deps", "--dest", place, requirement)
            asked = self._run(*arguments, temporary=Path(place), limit_s=_ASKING_S)
        return REFUSAL.encode() in asked.stderr


def _quoted(number: str, requirements: Requirements) -> str:
    lines = requirements.lines
    return lines[int(number) - 1] if 0 < int(number) <= len(lines) else f"line {number}"


def _remember(note: Path, chosen: Iterable[Wheel]) -> None:
    table = [{"file": each.path.name, "sha256": each.sha256} for each in chosen]
    fresh = note.with_suffix(".new")
    fresh.write_text(json.dumps(table), encoding="utf-8")
    fresh.replace(note)


def forget_wheels(directory: Path, kept: frozenset[str]) -> None:
    """Remove all wheels from a directory but those with these SHA-256.

    What pip keeps of its downloads goes with the last of them.
    """
    present: set[str] = set()
    for path in directory.glob("*/"):
        if path.name in kept or (path.name == _PIP_CACHE and kept):
            present.add(path.name)
        else:
            shutil.rmtree(path, ignore_errors=True)
    for note in directory.glob("*.json"):
        if not {each["sha256"] for each in json.loads(note.read_bytes())} <= present:
            note.unlink(missing_ok=True)
