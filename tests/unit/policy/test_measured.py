"""The risk of what a call measurably did."""

import pytest

from luminaguard.domain.changeset import Change, ChangeKind, Changeset, Mark
from luminaguard.domain.verdict import Risk
from luminaguard.policy.measured import risk_of


def changeset(*changes: tuple[ChangeKind, str | None]) -> Changeset:
    return Changeset(
        base="b",
        changes=tuple(
            Change(
                path=f"{at}",
                kind=kind,
                before=None,
                after=None,
                marks=(Mark(name=mark, why="w"),) if mark else (),
            )
            for at, (kind, mark) in enumerate(changes)
        ),
    )


@pytest.mark.parametrize(("changes", "risk"), [
    ([], Risk.LOW),
    ([(ChangeKind.CREATE, None)], Risk.LOW),
    ([(ChangeKind.MKDIR, None), (ChangeKind.MODIFY, None)], Risk.MEDIUM),
    ([(ChangeKind.CHMOD, None)], Risk.MEDIUM),
    ([(ChangeKind.CREATE, None), (ChangeKind.DELETE, None)], Risk.HIGH),
    ([(ChangeKind.RETYPE, None)], Risk.HIGH),
    ([(ChangeKind.CREATE, "runs-later")], Risk.CRITICAL),
    ([(ChangeKind.SYMLINK, "link-outside")], Risk.CRITICAL),
    ([(ChangeKind.CREATE, "git-internal")], Risk.MEDIUM),
    ([(ChangeKind.CREATE, "a mark of a later version")], Risk.HIGH),
])  # fmt: skip
def test_measured_risk_is_the_highest_of_all_changes(
    changes: list[tuple[ChangeKind, str | None]], risk: Risk
) -> None:
    assert risk_of(changeset(*changes)) is risk


def test_every_kind_of_change_has_a_risk() -> None:
    for kind in ChangeKind:
        assert risk_of(changeset((kind, None))) in Risk
