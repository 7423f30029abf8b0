"""What a project needs is read from its files as text, and compared with what an image has."""

import json
import os
import types
from pathlib import Path

import pytest
from click.testing import CliRunner

from luminaguard.cli.image import image as commands
from luminaguard.config import Settings
from luminaguard.errors import ImageError
from luminaguard.image.additions.requirements import read_requirements
from luminaguard.image.contents import Contents
from luminaguard.image.manifest import ArtifactRecord, KernelRecord, Manifest
from luminaguard.image.needs.compare import Report, compare
from luminaguard.image.needs.need import Status
from luminaguard.image.needs.programs import started

CONTENTS = Contents(
    python="3.11",
    programs=("bash", "make", "python3", "sh"),
    distributions={"pytest": "8.0", "six": "1.16.0"},
    node_modules=("lodash",),
    node_commands=("mocha",),
)


def manifest(contents: Contents = CONTENTS, **more: object) -> Manifest:
    facts = {
        "name": "default",
        "recipe_version": 1,
        "inputs": "i",
        "distribution": "debian",
        "architecture": "amd64",
        "kernel": KernelRecord(version="6.1", modules=(), builtin=()),
        "packages": (),
        "artifacts": {"rootfs": ArtifactRecord(sha256="0" * 64, size=1)},
    }
    return Manifest(**{**facts, "contents": contents, **more})  # type: ignore[arg-type]


@pytest.fixture
def project(tmp_path) -> Path:
    root = tmp_path / "project"
    root.mkdir()
    return root


def put(root: Path, **files: str) -> None:
    for name, text in files.items():
        path = root / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def look(root: Path, image: str = "default", **more: object) -> Report:
    return compare(root, manifest(**more), image)  # type: ignore[arg-type]


def named(report: Report, status: Status) -> set[str]:
    return {each.need.name for each in report.findings if each.status is status}


def test_a_project_that_needs_nothing_is_complete(project) -> None:
    report = look(project)
    assert report.is_complete
    assert report.findings == ()
    assert report.mend == ""


def test_missing_python_packages_are_named_with_the_command_that_adds_them(project) -> None:
    (project / "requirements-dev.txt").write_text("-r requirements.txt\nPytest_XDist>=3\n")
    (project / "requirements.txt").write_text("six==1.16.0\nflask  # web\n")
    report = look(project)
    assert named(report, Status.MISSING) == {"pytest-xdist", "flask"}
    assert named(report, Status.PRESENT) == {"six"}
    file = project / "requirements-dev.txt"
    assert report.mend == f"luminaguard image build default --requirements {file}"
    assert read_requirements((file,)).names == ("Pytest_XDist", "flask", "six")


def test_another_version_than_the_pinned_one_is_missing(project) -> None:
    (project / "requirements.txt").write_text("six==1.17.0\npytest>=9\n")
    report = look(project)
    assert named(report, Status.MISSING) == {"six"}
    assert report.findings[0].detail == "the image has 1.16.0"


def test_what_holds_on_some_systems_only_is_unknown(project) -> None:
    (project / "requirements.txt").write_text("colorama; sys_platform == 'win32'\n")
    report = look(project)
    assert named(report, Status.UNKNOWN) == {"colorama"}
    assert report.is_complete


def test_a_pyproject_counts_with_its_groups_and_can_be_given_to_the_build(project) -> None:
    (project / "pyproject.toml").write_text(
        '[project]\nname = "p"\nrequires-python = ">=3.11,<4"\ndependencies = ["a"]\n'
        '[project.optional-dependencies]\ntest = ["b", "p[x]"]\n[dependency-groups]\nd = ["c"]\n'
        '[tool.poetry.group.x.dependencies]\npython = "^3"\ne = "*"\n'
    )
    report = look(project)
    assert named(report, Status.MISSING) == {"a", "b", "c", "e"}
    assert report.mend.endswith(f"--requirements {project}/pyproject.toml")
    assert any("add --requirements FILE: e" in note for note in report.notes)


@pytest.mark.parametrize(
    ("wanted", "status"),
    [
        (">=3.9", Status.PRESENT), (">=3.11, <3.14", Status.PRESENT), ("==3.11.*", Status.PRESENT),
        ("~=3.10", Status.PRESENT), (">=3.12", Status.MISSING), ("<3.11", Status.MISSING),
        ("!=3.11.*", Status.MISSING), ("!=3.11.4", Status.PRESENT), (">3.11", Status.MISSING),
        ("<=3.10", Status.MISSING), ("<=3.11", Status.PRESENT), (">3", Status.UNKNOWN),
        ("nonsense", Status.UNKNOWN),
    ],
)  # fmt: skip
def test_the_version_of_python_is_compared(project, wanted, status) -> None:
    (project / "pyproject.toml").write_text(f'[project]\nrequires-python = "{wanted}"\n')
    report = look(project)
    assert report.findings[0].status is status
    assert ("newer Python" in "".join(report.notes)) is (status is Status.MISSING)


def test_setup_and_tox_files_are_read(project) -> None:
    (project / "setup.cfg").write_text("[options]\ninstall_requires =\n  a\n  b>1\n")
    (project / "tox.ini").write_text("[testenv]\ndeps =\n  c\n  py311: d\n  -r x.txt\n  {env:X}\n")
    report = look(project)
    assert named(report, Status.MISSING) == {"a", "b", "c", "d"}
    assert report.mend == ""
    assert "name these in a requirements file and add --requirements FILE: a b c d" in report.notes


def test_missing_npm_packages_are_named_with_their_lock(project) -> None:
    package = {
        "dependencies": {"lodash": "^4", "own": "file:../own"},
        "devDependencies": {"jest": "^29"},
        "optionalDependencies": {"fsevents": "*"},
        "scripts": {"test": "NODE_ENV=test mocha && jest", "lint": "eslint ."},
    }
    (project / "package.json").write_text(json.dumps(package))
    report = look(project)
    assert named(report, Status.MISSING) == {"node", "jest"}
    assert named(report, Status.PRESENT) == {"lodash", "mocha"}
    assert named(report, Status.UNKNOWN) == {"fsevents", "eslint"}
    assert "make a package-lock.json and add --npm package-lock.json" in "".join(report.notes)
    (project / "package-lock.json").write_text("{}")
    report = look(project)
    assert report.mend == f"luminaguard image build default --npm {project}/package-lock.json"


def test_programs_of_other_languages_get_their_debian_package(project) -> None:
    put(project, **{"go.mod": "module x\n", "Cargo.toml": "", "Makefile": "all:\n\t@cc x.c\n"})
    report = look(project, asked=("jq",))
    assert named(report, Status.MISSING) == {"go", "cargo", "rustc", "cc"}
    assert named(report, Status.PRESENT) == {"make"}
    packages = report.mend.removeprefix("luminaguard image build default ")
    assert packages == (
        "--package cargo --package gcc --package golang-go --package jq --package rustc"
    )


def test_scripts_and_ci_steps_are_read(project) -> None:
    put(
        project,
        **{
            "scripts__run": "#!/usr/bin/env ruby\n",
            "tool.pl": "#!/usr/bin/perl -w\n",
            ".github__workflows__ci.yml": (
                "jobs:\n  x:\n    steps:\n      - run: jq . x\n      - name: y\n        run: |\n"
                "          cmake -B b\n          docker build .\n        env:\n          curl: 1\n"
            ),
            ".gitlab-ci.yml": "test:\n  script:\n    - shellcheck x\n",
        },
    )
    report = look(project)
    assert named(report, Status.MISSING) == {"ruby", "perl", "jq", "cmake", "shellcheck"}
    assert named(report, Status.UNKNOWN) == {"docker"}


@pytest.mark.parametrize(
    ("line", "programs"),
    [
        ("cd x && make test", ["make"]),
        ("A=1 B=2 sudo env gcc -c", ["gcc"]),
        ("if [ -f x ]; then jq . x; fi", ["jq"]),
        ("$(CC) x; ./own; /bin/ls; @x", []),
        ("cat x | sort > y", ["cat", "sort"]),
        ("! grep x y || exit 1", ["grep"]),
        ("# curl", []),
    ],
)
def test_the_first_word_of_each_command_counts(line, programs) -> None:
    assert [each.name for each in started(line, "f")] == programs


def test_hostile_files_are_as_if_they_were_not_there(project) -> None:
    os.mkfifo(project / "requirements.txt")
    (project / "pyproject.toml").symlink_to("/etc/passwd")
    (project / "package.json").write_text("[" * 100_000)
    (project / "tox.ini").write_text("no section\n")
    (project / "setup.cfg").write_bytes(b"\xff" * 100)
    (project / "Makefile").write_bytes(b"\t" + b"a" * (2 << 20))
    report = look(project)
    assert {each.need.name for each in report.findings} == {"node", "make"}


def test_an_image_that_does_not_say_what_it_has_makes_everything_unknown(project) -> None:
    (project / "requirements.txt").write_text("flask\n")
    report = look(project, contents=Contents())
    assert named(report, Status.UNKNOWN) == {"flask"}
    assert "build it again" in report.notes[0]


def test_no_directory_is_an_error(tmp_path) -> None:
    with pytest.raises(ImageError, match="is no directory"):
        look(tmp_path / "missing")


@pytest.fixture
def settings(tmp_path) -> Settings:
    places = {name: tmp_path / name for name in ("state_dir", "cache_dir")}
    settings = Settings(config_file=tmp_path / "config.toml", **places)
    architecture = {"x86_64": "amd64", "aarch64": "arm64"}.get(os.uname().machine, "")
    made = manifest(architecture=architecture)
    home = settings.cache_dir / "images/default"
    (home / made.digest).mkdir(parents=True)
    (home / made.digest / "manifest.json").write_bytes(made.to_bytes())
    (home / "current").write_text(made.digest)
    return settings


def run(settings, *arguments: str):
    return CliRunner().invoke(commands, ["doctor", *arguments], obj=settings, standalone_mode=False)


def test_the_command_line_exits_with_1_when_something_is_missing(settings, project) -> None:
    assert run(settings, str(project)).return_value == 0
    (project / "requirements.txt").write_text("flask\n")
    result = run(settings, str(project), "--image", "web")
    assert result.return_value == 1
    assert "missing  distribution flask  (requirements.txt)" in result.output
    assert f"mend: luminaguard image build web --requirements {project}" in result.output
    assert f'[projects."{project}"] image = "web"' in result.output
    table = json.loads(run(settings, str(project), "--json").output)
    assert not table["complete"]
    assert table["needs"][0]["status"] == "missing"
    assert table["mend"].startswith("luminaguard image build default --requirements")


def test_names_of_a_project_cannot_act_on_the_terminal(settings, project) -> None:
    (project / "package.json").write_text(json.dumps({"dependencies": {"\x1b[2Jx": "1"}}))
    output = run(settings, str(project)).output
    assert "\x1b" not in output
    assert "\\x1b[2Jx" in output or "\\e[2Jx" in output


def test_a_damaged_image_is_told_and_not_replaced_by_another(settings, project) -> None:
    home = settings.cache_dir / "images/default"
    next(home.glob("*/manifest.json")).write_text("{}")
    error = run(settings, str(project)).exception
    assert isinstance(error, ImageError)
    listed = CliRunner().invoke(commands, ["list"], obj=settings)
    assert "manifest.json of image" in listed.output
    assert "luminaguard image build" in listed.output


def test_an_image_for_other_processors_is_refused(settings) -> None:
    made = manifest(architecture="riscv64")
    home = settings.cache_dir / "images/other"
    (home / made.digest).mkdir(parents=True)
    (home / made.digest / "manifest.json").write_bytes(made.to_bytes())
    (home / "current").write_text(made.digest)
    result = CliRunner().invoke(
        commands, ["verify", "other"], obj=types.SimpleNamespace(cache_dir=settings.cache_dir)
    )
    assert isinstance(result.exception, ImageError)
    assert "is for riscv64 processors" in str(result.exception)
    assert result.exception.hint == "luminaguard image build other"
