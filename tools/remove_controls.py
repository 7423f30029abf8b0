"""Take controls out of a copy of the sources and see the attacks go through that they stop.

For developers: the product cannot be told to leave a control out. Each entry of tools/removals.toml
names edits to a copy of src/ in a temporary directory; `luminaguard doctor` of that copy then tries
the entry's attacks, one by one, on real machines with a cache of their own. An attack that is still
held proves nothing and makes the exit code 1.

    remove_controls.py                 every entry; takes some minutes
    remove_controls.py WORD...         entries whose name, or an attack's name, contains a word
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
TABLE = Path(__file__).with_name("removals.toml")
LIMIT_S = 400.0
_SPOILED = (
    "never ran",
    "did not run to its end",
    "machine was lost",
    "it went wrong",
    "as far as ENOENT",
)
_OWN_NETWORK = 'ip link set lo up && ip address add 192.0.2.1/32 dev lo && exec "$@"'
"""What reaches out then reaches nothing but this namespace's own loopback."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Edit:
    """One change to a file below src/."""

    file: str
    old: str
    new: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Removal:
    """A control, how to take it out, and the attacks that must go through without it."""

    name: str
    attacks: tuple[str, ...]
    edits: tuple[Edit, ...]
    isolated: bool = False
    """Run in a network namespace without a way out: the attack would reach for the network."""
    opened: bool = False
    """Let everybody read the cache."""


def removals(table: Path = TABLE) -> tuple[Removal, ...]:
    """Return the table's entries."""
    read: list[dict[str, Any]] = tomllib.loads(table.read_text(encoding="utf-8"))["removal"]
    return tuple(
        Removal(
            name=entry["name"],
            attacks=tuple(entry["attacks"]),
            edits=tuple(Edit(**edit) for edit in entry.get("edit", ())),
            isolated=entry.get("isolated", False),
            opened=entry.get("opened", False),
        )
        for entry in read
    )


def stale(removal: Removal, source: Path) -> Iterator[str]:
    """Yield a line for each edit that no longer fits the sources."""
    for edit in removal.edits:
        if edit.old not in (source / edit.file).read_text(encoding="utf-8"):
            yield f"{removal.name}: {edit.file} no longer has {edit.old!r}"


def altered(removal: Removal, target: Path) -> Path:
    """Copy src/ to `target` without the control; return the copy."""
    copy = target / "src"
    shutil.rmtree(copy, ignore_errors=True)
    skipped = shutil.ignore_patterns("__pycache__", "*.egg-info")
    shutil.copytree(ROOT / "src", copy, ignore=skipped)
    for problem in stale(removal, copy):
        raise SystemExit(problem)
    for edit in removal.edits:
        path = copy / edit.file
        text = path.read_text(encoding="utf-8")
        path.write_text(text.replace(edit.old, edit.new.removeprefix("\n")), encoding="utf-8")
    return copy


Seen = dict[str, tuple[bool, str]]
"""Attack → whether it went through, and the evidence."""


def attempt(removal: Removal, attacks: Sequence[str], work: Path) -> Seen:
    """Try attacks in one go without their control."""
    command = [sys.executable, "-m", "luminaguard", "doctor", "--json"]
    for attack in attacks:
        command += ["--only", attack]
    if removal.isolated:
        command = ["unshare", "--net", "sh", "-c", _OWN_NETWORK, "sh", *command]
    environment = {
        **os.environ,
        "PYTHONPATH": str(work / "src"),
        "LUMINAGUARD_CACHE_DIR": str(work / "cache"),
        "LUMINAGUARD_STATE_DIR": str(work / "state"),
        "LUMINAGUARD_CONFIG": str(work / "none.toml"),
    }
    try:
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=LIMIT_S, check=False
        )
    except subprocess.TimeoutExpired:
        return dict.fromkeys(attacks, (False, f"no answer within {LIMIT_S:g} s"))
    finally:
        end_what_was_left(work)
    if not done.stdout:
        words = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        return dict.fromkeys(attacks, (False, words))
    return {
        result["name"]: (result["verdict"] == "BROKEN", str(result["reason"]))
        for result in json.loads(done.stdout)["attacks"]
    }


def attempts(removal: Removal, work: Path) -> Iterator[tuple[str, bool, str]]:
    """Yield each attack's name, whether it went through, and the evidence.

    All are tried together first. What was held, or told nothing because another attack spoiled the
    machine, is tried once more by itself.
    """
    if removal.opened:
        attempt(removal, removal.attacks, work)  # makes the template, in closed directories
        subprocess.run(["chmod", "a+rx", str(work)], check=True)
        subprocess.run(["chmod", "-R", "a+rX", str(work / "cache")], check=True)
    together = attempt(removal, removal.attacks, work)
    for attack, (through, reason) in together.items():
        again = len(together) > 1 and (not through or any(word in reason for word in _SPOILED))
        yield attack, *(attempt(removal, (attack,), work)[attack] if again else (through, reason))


def end_what_was_left(work: Path) -> None:
    """Kill machines that outlived their owner, because what ends them was taken out."""
    for entry in os.listdir("/proc"):
        if entry.isdigit() and int(entry) != os.getpid():
            try:
                line = Path(f"/proc/{entry}/cmdline").read_bytes()
                if str(work).encode() in line and b"bwrap" in line:
                    os.kill(int(entry), signal.SIGKILL)
            except OSError:
                continue


def main() -> int:
    """Try the chosen entries and return the exit code."""
    words = sys.argv[1:]
    chosen = [
        one
        for one in removals()
        if not words or any(word in text for word in words for text in (one.name, *one.attacks))
    ]
    held = 0
    with tempfile.TemporaryDirectory(prefix="luminaguard-removals-") as directory:
        work = Path(directory)
        cache = Path(os.environ.get("LUMINAGUARD_CACHE_DIR", Path.home() / ".cache/luminaguard"))
        shutil.copytree(cache / "images" / "default", work / "cache" / "images" / "default")
        for removal in chosen:
            altered(removal, work)
            for attack, through, reason in attempts(removal, work):
                held += not through
                print(f"{'through' if through else 'HELD'}\t{attack}\t{removal.name}\t{reason}")
                sys.stdout.flush()
    return 1 if held else 0


if __name__ == "__main__":
    sys.exit(main())
