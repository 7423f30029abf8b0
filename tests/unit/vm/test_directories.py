"""A private directory is private from its first moment on, with all that was made for it."""

import stat
from pathlib import Path

from luminaguard.vm.directories import make_private


def test_everything_that_is_made_on_the_way_is_private_too(tmp_path: Path) -> None:
    assert make_private(tmp_path / "state" / "run" / "pools")
    for made in ("state", "state/run", "state/run/pools"):
        assert stat.S_IMODE((tmp_path / made).stat().st_mode) == 0o700
    assert make_private(tmp_path / "state" / "run")


def test_a_directory_that_others_may_enter_is_told_and_left_as_it_is(tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    shared.mkdir(mode=0o755)
    shared.chmod(0o755)
    assert not make_private(shared)
    assert stat.S_IMODE(shared.stat().st_mode) == 0o755
