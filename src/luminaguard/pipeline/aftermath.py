"""After a crash: end what it left half done, and close what it left open in the audit log."""

from collections.abc import Mapping
from pathlib import Path

from luminaguard.audit.log import AuditLog
from luminaguard.audit.query import Query
from luminaguard.audit.reader import AuditReader
from luminaguard.audit.records import RecordKind
from luminaguard.domain.calls import JsonValue
from luminaguard.workspace.root import WorkspaceRoot
from luminaguard.workspace.settle.lock import CommitStore
from luminaguard.workspace.settle.recovery import Ending, RecoveryReport, recover


def end_what_was_left(root: WorkspaceRoot, log: AuditLog, state_dir: Path) -> RecoveryReport:
    """Recover a workspace and record what was found. Blocking; safe to repeat.

    Open intents of processes that are gone are closed: with the report where it is about them, as
    unknown otherwise.

    Raises:
        RecoveryNeeded: the journal is damaged.
        AuditWriteFailed: it could not be recorded.
    """
    report = recover(root, CommitStore(state_dir, root.dev, root.ino))
    found: dict[str, Mapping[str, JsonValue]] = {}
    if report.ending is not Ending.NOTHING:
        wanted = Query(kind=RecordKind.COMMIT_STARTED, text=report.changeset)
        started = AuditReader(state_dir).find(wanted)
        found = {record.call_id: report.as_json() for record in started if record.call_id}
    log.close_open_intents(found)
    return report
