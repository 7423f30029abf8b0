"""Every gate of `make check` bites: it fails on a small bad sample and passes on its good twin."""

import json
import os
import shutil
import subprocess
import sys
import textwrap
import tomllib
from collections.abc import Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SETTINGS = ROOT / "pyproject.toml"
FLOW = tomllib.loads(SETTINGS.read_text(encoding="utf-8"))["tool"]["importlinter"]["contracts"][0]
LAYERS = [name for layer in FLOW["layers"] for name in layer.replace("|", " ").split()]
GOOD = (
    '"""A module."""\n\n\ndef double(number: int) -> int:\n    """Return twice a number."""\n'
    + ("    return 2 * number\n")
)
MANY_BRANCHES = (
    '"""A module."""\n\n\ndef classify(number: int) -> str:\n    """Return a word."""\n'
    '    word = ""\n'
    + "".join(f'    if number > {step}:\n        word += "x"\n' for step in range(11))
    + "    return word\n"
)


def run(tree: Path, *command: str | Path, **environment: str) -> tuple[int, str]:
    """Run a tool of this environment in a tree; return its exit code and all it printed."""
    program, *rest = (str(part) for part in command)
    if program.endswith(".py"):
        words = [sys.executable, str(ROOT / "tools" / program), *rest]
    else:
        words = [str(Path(sys.executable).parent / program), *rest]
    done = subprocess.run(
        words,
        cwd=tree,
        capture_output=True,
        check=False,
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
        text=True,
        timeout=60,
    )
    return done.returncode, done.stdout + done.stderr


def git(tree: Path, *arguments: str) -> None:
    """Run git in a tree, as nobody in particular."""
    identity = ["-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false"]
    subprocess.run(["git", *identity, *arguments], cwd=tree, check=True, capture_output=True)


def plant(tree: Path, files: Mapping[str, str]) -> None:
    """Write files below a tree."""
    for name, text in files.items():
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_text(textwrap.dedent(text), encoding="utf-8")


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A git repository with this project's settings and one good module."""
    git(tmp_path, "init", "-q", "-b", "main")
    shutil.copy(SETTINGS, tmp_path)
    plant(tmp_path, {"src/luminaguard/good.py": GOOD, "src/luminaguard/__init__.py": '"""A."""\n'})
    return tmp_path


@pytest.mark.parametrize(
    ("sample", "rule"),
    [
        ("import os\n" + GOOD, "F401"),
        (MANY_BRANCHES, "C901"),
        (GOOD.replace(": int", ""), "ANN001"),
        (GOOD.replace('    """Return twice a number."""\n', ""), "D103"),
        (GOOD + "\n\nassert double(1) == 2\n", "S101"),
        (GOOD + "\n\nprint(double(1))\n", "T201"),
        (GOOD + "\n\ntry:\n    double(1)\nexcept Exception:\n    pass\n", "BLE001"),
    ],
)
def test_lint_refuses(tree: Path, sample: str, rule: str) -> None:
    plant(tree, {"src/luminaguard/bad.py": sample})
    code, said = run(tree, "ruff", "check", "--no-cache", "--output-format", "concise", ".")
    assert code == 1
    assert f": {rule} " in said
    assert "good.py" not in said


def test_lint_accepts_a_good_tree(tree: Path) -> None:
    assert run(tree, "ruff", "check", "--no-cache", ".")[0] == 0


def test_format_refuses_what_it_would_change(tree: Path) -> None:
    assert run(tree, "ruff", "format", "--no-cache", "--check", ".")[0] == 0
    plant(tree, {"src/luminaguard/bad.py": "x = {'a':1}\n"})
    assert run(tree, "ruff", "format", "--no-cache", "--check", ".")[0] == 1


def test_types_are_strict_and_know_the_platform(tree: Path) -> None:
    untyped = '"""A module."""\n\n\ndef first(items):\n    return items[0]\n'
    linux_only = '"""A module."""\n\nimport os\n\nFLAGS = os.O_CLOEXEC\n'
    plant(
        tree, {"src/luminaguard/untyped.py": untyped, "src/luminaguard/linux_only.py": linux_only}
    )
    code, said = run(tree, "pyright", "--pythonplatform", "Windows", "--outputjson", "src")
    assert code == 1
    findings = json.JSONDecoder().raw_decode(said)[0]["generalDiagnostics"]  # a warning may follow
    wrong = {(Path(found["file"]).name, found.get("rule")) for found in findings}
    assert ("untyped.py", "reportMissingParameterType") in wrong
    assert ("linux_only.py", "reportAttributeAccessIssue") in wrong
    assert not [rule for name, rule in wrong if name == "good.py"]


def layered(tree: Path, breach: str = "") -> tuple[int, str]:
    """Run import-linter on empty packages of every layer, with one breach planted."""
    files = {f"src/luminaguard/{name}/__init__.py": "" for name in LAYERS}
    files |= {"src/luminaguard/testing/__init__.py": "", "src/luminaguard/vm/channel.py": ""}
    files |= {"src/luminaguard_guest/__init__.py": "", "src/luminaguard/__init__.py": ""}
    if breach:
        place, statement = breach.split(": ")
        files[f"src/{place}"] = f"def late() -> None:\n    {statement}\n"
    (tree / "src/luminaguard/good.py").unlink(missing_ok=True)
    plant(tree, files)
    return run(tree, "lint-imports", "--no-cache", PYTHONPATH=str(tree / "src"))


def test_layers_accept_a_downward_tree(tree: Path) -> None:
    code, said = layered(tree)
    assert code == 0, said


@pytest.mark.parametrize(
    "breach",
    [
        "luminaguard/domain/late.py: import luminaguard.vm",
        "luminaguard/audit/late.py: import luminaguard.policy",
        "luminaguard/domain/late.py: import anyio",
        "luminaguard_guest/late.py: import luminaguard.errors",
        "luminaguard/workspace/late.py: import luminaguard_guest",
        "luminaguard/cli/late.py: import luminaguard.testing",
        "luminaguard/newcomer/__init__.py: import luminaguard.errors",
    ],
)
def test_layers_refuse(tree: Path, breach: str) -> None:
    code, said = layered(tree, breach)
    assert code == 1, said
    assert "BROKEN" in said or "Missing" in said or "not listed" in said, said


@pytest.mark.parametrize(
    ("name", "text", "complaint"),
    [
        ("src/luminaguard/long.py", "x = 1\n" * 401, "401 lines"),
        ("tests/test_long.py", "x = 1\n" * 501, "501 lines"),
        ("docs/a.md", "see /wor" + "k/main/src", "a path of one machine"),
        ("src/luminaguard/a.py", 'INDEX = "https://py' + 'pi.org/simple"\n', "registry"),
        ("Makefile", "\tcurl 192.168." + "7.1\n", "private network address"),
        ("src/luminaguard/a.py", "import luminaguard.vm._schedule\n", "private to luminaguard.vm"),
        ("src/luminaguard/a.py", "from luminaguard.vm import _schedule\n", "private to"),
    ],
)
def test_layout_refuses(tree: Path, name: str, text: str, complaint: str) -> None:
    assert run(tree, "check_layout.py", "--root", tree) == (0, "")
    plant(tree, {name: text})
    code, said = run(tree, "check_layout.py", "--root", tree)
    assert code == 1
    assert name in said
    assert complaint in said


def test_layout_lets_a_package_use_its_own_private_modules(tree: Path) -> None:
    plant(tree, {"src/luminaguard/vm/pool.py": "import luminaguard.vm._schedule\n"})
    assert run(tree, "check_layout.py", "--root", tree)[0] == 0


def test_layout_refuses_a_crowded_root(tree: Path) -> None:
    plant(tree, {f"report-{number}.md": "x\n" for number in range(18)})
    code, said = run(tree, "check_layout.py", "--root", tree)
    assert code == 1
    assert "entries in the root" in said


def test_docstrings_below_sixty_percent_are_refused(tree: Path) -> None:
    assert run(tree, "interrogate", "--quiet", "src")[0] == 0
    bare = "".join(f"def function_{number}():\n    return {number}\n\n\n" for number in range(4))
    plant(tree, {"src/luminaguard/bare.py": bare})
    assert run(tree, "interrogate", "--quiet", "src")[0] != 0


def report(tree: Path, covered: int, *, core: int) -> Path:
    """Write a coverage report: `covered` of 100 lines elsewhere, `core` of 100 in the audit."""
    files = {"src/luminaguard/cli/main.py": covered, "src/luminaguard/audit/log.py": core}
    summaries = {
        name: {
            "summary": {
                "covered_lines": lines,
                "num_statements": 100,
                "covered_branches": 0,
                "num_branches": 0,
            }
        }
        for name, lines in files.items()
    }
    path = tree / "coverage.json"
    path.write_text(json.dumps({"files": summaries}), encoding="utf-8")
    return path


@pytest.fixture
def ratcheted(tree: Path) -> Path:
    """A repository in which the total stands at 80 and the audit at 90, both committed."""
    plant(tree, {"src/luminaguard/audit/__init__.py": "", "tools/ratchet.toml": RATCHET})
    git(tree, "add", "-A")
    git(tree, "commit", "-q", "-m", "stand")
    return tree


RATCHET = "[branch_coverage]\ntotal = 80\naudit = 90\n"


def test_coverage_at_its_minimum_passes(ratcheted: Path) -> None:
    code, said = run(ratcheted, "ratchet.py", report(ratcheted, 70, core=90), "--root", ratcheted)
    assert code == 0, said


@pytest.mark.parametrize(("covered", "core", "fallen"), [(69, 90, "total"), (90, 89, "audit")])
def test_coverage_below_its_minimum_is_refused(
    ratcheted: Path, covered: int, core: int, fallen: str
) -> None:
    code, said = run(
        ratcheted, "ratchet.py", report(ratcheted, covered, core=core), "--root", ratcheted
    )
    assert code == 1
    assert f"coverage of {fallen} is" in said


@pytest.mark.parametrize("rewritten", ["total = 79\naudit = 90\n", "total = 80\n"])
def test_a_minimum_cannot_be_lowered_or_dropped(ratcheted: Path, rewritten: str) -> None:
    plant(ratcheted, {"tools/ratchet.toml": f"[branch_coverage]\n{rewritten}"})
    assert run(ratcheted, "ratchet.py", "--only-raised", "--root", ratcheted)[0] == 1
    git(ratcheted, "commit", "-q", "-a", "-m", "lower it")
    code, said = run(ratcheted, "ratchet.py", "--only-raised", "--root", ratcheted)
    assert code == 1
    assert "it may only rise" in said


def test_a_minimum_can_be_raised_and_goes_with_its_package(ratcheted: Path) -> None:
    shutil.rmtree(ratcheted / "src/luminaguard/audit")
    plant(ratcheted, {"tools/ratchet.toml": "[branch_coverage]\ntotal = 81\n"})
    assert run(ratcheted, "ratchet.py", "--only-raised", "--root", ratcheted) == (0, "")


GUARANTEES = '[[guarantee]]\nid = "G1"\ntext = "Nothing leaks."\ntests = [{tests}]\n'
MARKED = 'import pytest\n\n\n@pytest.mark.guarantee("{id}")\ndef test_it():\n    pass\n'


@pytest.mark.parametrize(
    ("listed", "marked", "complaint"),
    [
        ("", "", "G1 has no test"),
        ('"tests/test_a.py::test_gone"', "", "G1 has no test"),
        ("", MARKED.format(id="G1"), "G1 lists other tests"),
        (
            '"tests/test_a.py::test_it"',
            MARKED.format(id="G1, G7").replace(", ", '", "'),
            "G7 is no",
        ),
    ],
)
def test_guarantees_refuse(tree: Path, listed: str, marked: str, complaint: str) -> None:
    plant(
        tree, {"docs/guarantees.toml": GUARANTEES.format(tests=listed), "tests/test_a.py": marked}
    )
    code, said = run(tree, "check_guarantees.py", "--root", tree)
    assert code == 1
    assert complaint in said


@pytest.mark.parametrize(
    ("marked", "test"),
    [
        (MARKED.format(id="G1"), "test_it"),
        (
            'import pytest\n\npytestmark = [pytest.mark.guarantee("G1")]\n\ndef test_b(): ...\n',
            "test_b",
        ),
        (
            'import pytest\n\n@pytest.mark.guarantee("G1")\nclass TestC:\n'
            "    def test_d(self): ...\n",
            "TestC::test_d",
        ),
    ],
)
def test_guarantees_accept_what_update_wrote(tree: Path, marked: str, test: str) -> None:
    plant(tree, {"docs/guarantees.toml": GUARANTEES.format(tests=""), "tests/test_a.py": marked})
    assert run(tree, "check_guarantees.py", "--update", "--root", tree) == (0, "")
    assert run(tree, "check_guarantees.py", "--root", tree) == (0, "")
    assert f'"tests/test_a.py::{test}"' in (tree / "docs/guarantees.toml").read_text()


def test_shell_scripts_with_an_unquoted_path_are_refused(tree: Path) -> None:
    plant(tree, {"bad.sh": "#!/bin/bash\nrm -rf $1/cache\n", "good.sh": '#!/bin/bash\nls "$1"\n'})
    assert run(tree, "shellcheck", "good.sh")[0] == 0
    assert run(tree, "shellcheck", "bad.sh")[0] == 1
