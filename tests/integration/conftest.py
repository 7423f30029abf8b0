"""What tests in real machines share."""

from pathlib import Path

import pytest


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A small workspace on the host."""
    root = tmp_path / "tree"
    (root / "d1/s1").mkdir(parents=True)
    (root / "gone").mkdir()
    (root / "a.txt").write_text("hello\n")
    (root / "d1/y").write_text("y")
    (root / "d1/s1/x").write_text("x")
    (root / "gone/z").write_text("z")
    (root / "tool").write_text("#!/bin/sh\necho tool\n")
    (root / "tool").chmod(0o755)
    return root
