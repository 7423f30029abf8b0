"""Every module can be imported on macOS and Windows, as far as Linux can tell.

The real systems import them in .github/workflows; the type checker reads them in tools/check.sh.
"""

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parent.parent / "foreign_imports.py"
ELSEWHERE = {
    "luminaguard.doctor.kit": "runs in guests, which are Linux",
    "luminaguard.tui.driver": "draws on terminals of POSIX; elsewhere no screen is opened",
    "luminaguard.workspace.settle.posix": "system calls of POSIX, which Windows lacks",
}
"""Modules that a system may refuse, and why; nothing else imports them there."""


def imported(platform: str) -> list[str]:
    """Return what the program says."""
    done = subprocess.run(
        [sys.executable, SCRIPT, platform],
        capture_output=True,
        check=False,
        text=True,
        timeout=60,
    )
    assert not done.stderr, done.stderr
    return done.stdout.splitlines()


@pytest.mark.skipif(sys.platform != "linux", reason="pretends to be elsewhere")
@pytest.mark.parametrize(
    ("platform", "refused"),
    [
        ("darwin", {"luminaguard.doctor.kit"}),
        (
            "win32",
            {
                "luminaguard.doctor.kit",
                "luminaguard.tui.driver",
                "luminaguard.workspace.settle.posix",
            },
        ),
    ],
)
def test_every_module_can_be_imported_elsewhere(platform: str, refused: set[str]) -> None:
    *findings, summary = imported(platform)
    assert refused <= ELSEWHERE.keys()
    assert {line.partition(":")[0] for line in findings} == refused, "\n".join(findings)
    assert int(summary.split()[0]) > 200
    guest = summary.partition("of the guest: ")[2].split()
    assert set(guest) == {f"luminaguard_guest.{name}" for name in ("fields", "messages", "wire")}


@pytest.mark.skipif(sys.platform != "linux", reason="pretends to be elsewhere")
def test_a_module_that_needs_linux_at_import_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "luminaguard"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "linuxish.py").write_text("import os\nFLAG = os.O_TMPFILE\n")
    (package / "posixish.py").write_text("import fcntl\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    assert [line.split(":")[0] for line in imported("darwin")[:-1]] == ["luminaguard.linuxish"]
    assert len(imported("win32")[:-1]) == 2
