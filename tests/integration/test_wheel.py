"""The built wheel, installed into a clean environment, is a working LuminaGuard."""

import os
import shutil
import subprocess
import sys
import venv
import zipfile
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LIMIT_S = 100


def checked(*command: str | Path, cwd: Path, **environment: str) -> str:
    """Run a program in a bare environment; return what it printed."""
    kept = {name: os.environ[name] for name in ("PATH", "TMPDIR") if name in os.environ}
    done = subprocess.run(
        command,
        cwd=cwd,
        env={**kept, **environment},
        capture_output=True,
        check=False,
        text=True,
        timeout=LIMIT_S,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built out of a copy: setuptools leaves its traces in the tree it builds."""
    base = tmp_path_factory.mktemp("wheel")
    source = base / "source"
    ignored = shutil.ignore_patterns("__pycache__", "*.egg-info")
    shutil.copytree(ROOT / "src", source / "src", ignore=ignored)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    options = ("--no-deps", "--no-build-isolation", "--no-index", "--quiet")
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check", "wheel")
    checked(*pip, *options, "--wheel-dir", base / "dist", source, cwd=base, HOME=str(base))
    (built,) = (base / "dist").glob("*.whl")
    return built


def needed(name: str, seen: set[str]) -> Iterator[metadata.Distribution]:
    """Yield what a distribution needs at run time here, transitively."""
    from packaging.requirements import Requirement

    for text in metadata.requires(name) or ():
        wanted = Requirement(text)
        applies = wanted.marker is None or wanted.marker.evaluate({"extra": ""})
        if applies and wanted.name not in seen:
            seen.add(wanted.name)
            yield metadata.distribution(wanted.name)
            yield from needed(wanted.name, seen)


def clean_environment(place: Path, wheel: Path) -> Path:
    """Return the programs of a fresh environment that holds the wheel and what it declares.

    The dependencies are this environment's own files, linked one by one, so nothing undeclared
    comes along and no network is needed.
    """
    venv.create(place, with_pip=False)
    (site,) = place.glob("lib/python*/site-packages")
    for distribution in needed("luminaguard", set()):
        tops = {file.parts[0] for file in distribution.files or ()} - {"..", "__pycache__"}
        for top in tops:
            if not (site / top).exists():
                (site / top).symlink_to(Path(str(distribution.locate_file(top))))
    pip = (
        sys.executable,
        "-m",
        "pip",
        "--disable-pip-version-check",
        "--python",
        place / "bin/python",
    )
    options = ("--no-deps", "--no-index", "--quiet")
    checked(*pip, "install", *options, wheel, cwd=place, HOME=str(place))
    return place / "bin"


@pytest.fixture(scope="module")
def programs(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The programs of an environment with the wheel."""
    return clean_environment(tmp_path_factory.mktemp("environment") / "venv", wheel)


def test_the_wheel_holds_every_file_that_the_tree_holds(wheel: Path) -> None:
    tracked = subprocess.run(
        ["git", "ls-files", "src"], cwd=ROOT, capture_output=True, check=True, text=True
    ).stdout.split()
    inside = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    assert inside == {name.removeprefix("src/") for name in tracked if (ROOT / name).exists()}


def test_the_installed_command_works_anywhere(programs: Path, tmp_path: Path) -> None:
    home = {"HOME": str(tmp_path)}
    assert "Usage" in checked(programs / "luminaguard", "--help", cwd=tmp_path, **home)
    version = metadata.version("luminaguard")
    assert version in checked(programs / "luminaguard", "--version", cwd=tmp_path, **home)
    verdict = '{"id": "1", "tool": "shell", "arguments": {"command": "rm -rf /"}}'
    said = subprocess.run(
        [programs / "luminaguard", "check"],
        input=verdict,
        env={"PATH": os.environ["PATH"], **home},
        capture_output=True,
        check=True,
        text=True,
        timeout=LIMIT_S,
    ).stdout
    assert '"id"' in said


def test_the_installed_package_brings_the_guest_agent_and_its_recipe(
    programs: Path, tmp_path: Path
) -> None:
    look = (
        "from luminaguard.vm.agentfiles import agent_archive;"
        "from luminaguard.image.recipe import load_recipe;"
        "import luminaguard;"
        "assert b'luminaguard_guest/agent.py' in agent_archive();"
        "assert load_recipe().packages;"
        "print(luminaguard.__file__)"
    )
    said = checked(programs / "python", "-c", look, cwd=tmp_path, HOME=str(tmp_path))
    assert Path(said.strip()).is_relative_to(programs.parent)


@pytest.mark.long
def test_pip_installs_the_wheel_with_its_dependencies_from_the_index(
    wheel: Path, tmp_path: Path
) -> None:
    """As `pipx install` would: needs the package index that pip is configured with."""
    venv.create(tmp_path / "venv", with_pip=True)
    programs = tmp_path / "venv/bin"
    kept = {name: value for name, value in os.environ.items() if "proxy" in name.lower()}
    kept |= {name: value for name, value in os.environ.items() if name.startswith("PIP_")}
    options = ("--disable-pip-version-check", "--constraint", ROOT / "constraints.txt")
    home = os.environ.get("HOME", str(tmp_path))  # pip's configuration lies there
    checked(programs / "pip", "install", *options, wheel, cwd=tmp_path, HOME=home, **kept)
    said = checked(programs / "luminaguard", "--help", cwd=tmp_path, HOME=str(tmp_path))
    assert "Usage" in said
