"""Hold coverage at the level it once reached: tools/ratchet.toml may only rise.

    ratchet.py REPORT.json     coverage is at or above every minimum (a `coverage json` report)
    ratchet.py --only-raised   no minimum is below, or missing from, one that was ever committed

Percentages are coverage.py's own with branches: (covered lines + covered branches) of all of both.
"""

import argparse
import json
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path

FILE = "tools/ratchet.toml"
ROOM = 2.0
"""Points above a minimum from which raising it is suggested."""


def minimums(text: str) -> dict[str, float]:
    """Return name → percent: "total", and packages of src/luminaguard."""
    table = tomllib.loads(text)["branch_coverage"]
    return {str(name): float(percent) for name, percent in table.items()}


def measured(report: Path, names: Mapping[str, float]) -> dict[str, float]:
    """Return name → percent for each name in a coverage report; a package without code is 0."""
    files = json.loads(report.read_text(encoding="utf-8"))["files"]
    return {name: percent_of(name, files) for name in names}


def percent_of(name: str, files: Mapping[str, Mapping[str, Mapping[str, int]]]) -> float:
    """Return the percentage of one package, or of everything for "total"."""
    folder = "" if name == "total" else f"luminaguard/{name}/"
    covered = whole = 0
    for path, entry in files.items():
        if folder in path.replace("\\", "/"):
            summary = entry["summary"]
            covered += summary["covered_lines"] + summary["covered_branches"]
            whole += summary["num_statements"] + summary["num_branches"]
    return 100 * covered / whole if whole else 0.0


def fallen(now: Mapping[str, float], least: Mapping[str, float]) -> Iterator[str]:
    """Yield a line for each name whose coverage is below its minimum."""
    for name, minimum in least.items():
        if now[name] < minimum:
            yield f"coverage of {name} is {now[name]:.2f} %, at least {minimum:g} %: add tests"


def committed(root: Path) -> Iterator[dict[str, float]]:
    """Yield the minimums of every version of the file in this checkout's history."""
    listing = git(root, "log", "--format=%H", "--", FILE)
    for commit in listing.split():
        text = git(root, "show", f"{commit}:{FILE}")
        if text:
            yield minimums(text)


def git(root: Path, *arguments: str) -> str:
    """Return what a git command prints, nothing when it fails (no history, file not there yet)."""
    done = subprocess.run(
        ["git", *arguments], cwd=root, capture_output=True, check=False, text=True
    )
    return done.stdout if done.returncode == 0 else ""


def lowered(root: Path, least: Mapping[str, float]) -> Iterator[str]:
    """Yield a line for each minimum that was once higher, or is gone while its package is not."""
    highest: dict[str, float] = {}
    for version in committed(root):
        for name, percent in version.items():
            highest[name] = max(percent, highest.get(name, 0.0))
    for name, percent in highest.items():
        exists = name == "total" or (root / "src" / "luminaguard" / name).is_dir()
        now = least.get(name, 0.0)
        if exists and now < percent:
            yield f"{FILE}: {name} was {percent:g} and is {now:g}: it may only rise"


def show(now: Mapping[str, float], least: Mapping[str, float]) -> None:
    """Print each figure, its minimum, and which minimums could rise."""
    for name, minimum in least.items():
        room = "   (could rise)" if now[name] >= minimum + ROOM else ""
        print(f"coverage: {name:10} {now[name]:6.2f} %   at least {minimum:g} %{room}")


def main() -> int:
    """Compare, print, and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("report", type=Path, nargs="?")
    parser.add_argument("--only-raised", action="store_true")
    parser.add_argument("--root", type=Path, default=Path(__file__).resolve().parent.parent)
    options = parser.parse_args()
    least = minimums((options.root / FILE).read_text(encoding="utf-8"))
    breaches = list(lowered(options.root, least))
    if not options.only_raised:
        if options.report is None:
            parser.error("name a coverage report, or say --only-raised")
        now = measured(options.report, least)
        show(now, least)
        breaches += fallen(now, least)
    print("\n".join(breaches), end="\n" if breaches else "")
    return 1 if breaches else 0


if __name__ == "__main__":
    sys.exit(main())
