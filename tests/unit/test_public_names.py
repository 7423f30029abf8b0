"""What others build on stays where it is."""

import subprocess
import sys

import pytest

import luminaguard

NAMES = [
    "ApprovalRequest",
    "Approver",
    "Change",
    "ChangeKind",
    "Changeset",
    "Decision",
    "DiffCard",
    "End",
    "Fleet",
    "Lane",
    "LuminaGuardError",
    "Outcome",
    "OutcomeKind",
    "PoolMetrics",
    "Risk",
    "Session",
    "ToolCall",
    "Verdict",
    "get_pool_metrics",
]


def test_the_public_names_are_these_and_no_others() -> None:
    assert luminaguard.__all__ == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_every_public_name_can_be_imported(name: str) -> None:
    assert getattr(luminaguard, name).__name__ == name


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Sandbox'"):
        luminaguard.Sandbox  # noqa: B018


def test_importing_the_package_imports_nothing_else_of_it() -> None:
    look = (
        "import sys, luminaguard; print([m for m in sys.modules if m.startswith('luminaguard.')])"
    )
    done = subprocess.run([sys.executable, "-c", look], check=True, capture_output=True, text=True)
    assert done.stdout == "[]\n"
