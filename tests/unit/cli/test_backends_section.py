"""What doctor prints about backends."""

from luminaguard.backends import BackendReport, BackendState
from luminaguard.cli.backends import backend_lines, backends_json
from luminaguard.domain.isolation import Tier

WORKS = BackendReport(
    name="qemu", state=BackendState.WORKS, tier=Tier.EMULATED, detail="tcg, version 7.2"
)
MISSING = BackendReport(
    name="gvisor",
    state=BackendState.UNAVAILABLE,
    tier=None,
    detail="runsc is missing",
    hint="apt-get install runsc",
)


def test_each_backend_has_its_state_and_what_mends_it() -> None:
    text = "\n".join(backend_lines((WORKS, MISSING)))
    assert "works (emulated): tcg, version 7.2" in text
    assert "unavailable: runsc is missing" in text
    assert "mend: apt-get install runsc" in text
    assert 'isolation = ["hardware", "userkernel", "emulated"]' in text


def test_programs_are_told_the_same() -> None:
    assert backends_json((MISSING,)) == [
        {
            "name": "gvisor",
            "state": "unavailable",
            "tier": None,
            "detail": "runsc is missing",
            "hint": "apt-get install runsc",
        }
    ]
