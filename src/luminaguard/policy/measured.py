"""The risk of what a call really did."""

from luminaguard.domain.changeset import Change, ChangeKind, Changeset
from luminaguard.domain.verdict import Risk, highest

PROJECT_FILE = "luminaguard-policy.toml"
"""A project's own rules, at the workspace's root. To change it is to change what is asked later."""

_BY_KIND = {
    ChangeKind.CREATE: Risk.LOW,
    ChangeKind.MKDIR: Risk.LOW,
    ChangeKind.MODIFY: Risk.MEDIUM,
    ChangeKind.CHMOD: Risk.MEDIUM,
    ChangeKind.SYMLINK: Risk.MEDIUM,
    ChangeKind.DELETE: Risk.HIGH,
    ChangeKind.RMDIR: Risk.HIGH,
    ChangeKind.RETYPE: Risk.HIGH,
}
_BY_MARK = {
    "runs-later": Risk.CRITICAL,
    "link-outside": Risk.CRITICAL,
    "git-internal": Risk.MEDIUM,
}
"""What runs later on the host, or points out of the workspace, has effects beyond files. A mark
that is not listed counts as HIGH."""


def risk_of(changeset: Changeset) -> Risk:
    """Return the measured risk: create < edit < delete < effects beyond files. Empty is LOW.

    The pipeline shows the higher of this and the verdict's prediction.
    """
    return highest(Risk.LOW, *(_risk_of_change(change) for change in changeset.changes))


def _risk_of_change(change: Change) -> Risk:
    if change.path.lower() == PROJECT_FILE:
        return Risk.CRITICAL
    marks = (_BY_MARK.get(mark.name, Risk.HIGH) for mark in change.marks)
    return highest(_BY_KIND[change.kind], *marks)
