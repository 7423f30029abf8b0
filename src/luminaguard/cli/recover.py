"""`luminaguard recover`: end a commit that a crash or a power loss left half done."""

import json
from pathlib import Path

import click

from luminaguard.audit.log import AuditLog
from luminaguard.cli.options import workspace_option
from luminaguard.config import Settings
from luminaguard.domain.visible import visible
from luminaguard.pipeline.aftermath import end_what_was_left
from luminaguard.workspace.root import WorkspaceRoot
from luminaguard.workspace.settle.lock import CommitStore
from luminaguard.workspace.settle.recovery import Ending, RecoveryReport
from luminaguard.workspace.settle.recovery import recover as recover_workspace

_SAID = {
    Ending.NOTHING: "nothing to recover in {}",
    Ending.ROLLED_BACK: "{} is as it was before the commit that did not end",
    Ending.FINISHED: "{} is as the approved commit made it; only cleaning up was left",
    Ending.UNKNOWN: "{} is as it was before the commit that did not end, except for paths that"
    " were changed since; those were left alone:",
}


@click.command()
@workspace_option
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object and nothing else.")
@click.pass_obj
def recover(settings: Settings, *, workspace: Path, as_json: bool) -> None:
    """End a commit that was cut off, and open the workspace for new ones.

    What can be taken back is taken back. A path that was changed since is left as it is; the report
    says where its other version lies, so that nothing is lost either way.
    """
    root = WorkspaceRoot.open(workspace, protected=settings.own_dirs)
    try:
        log = AuditLog.open(settings.state_dir)
        try:
            report = end_what_was_left(root, log, settings.state_dir)
        finally:
            log.close()
        if report.is_blocked:
            store = CommitStore(settings.state_dir, root.dev, root.ino)
            report = recover_workspace(root, store, acknowledge=True)
    finally:
        root.close()
    if as_json:
        click.echo(json.dumps(report.as_json()))
    else:
        _print(report)


def _print(report: RecoveryReport) -> None:
    click.echo(_SAID[report.ending].format(visible(report.workspace)))
    for unknown in report.unknown:
        click.echo(f"  {visible(unknown.path)}: {unknown.why}")
        other = visible(unknown.preserved) or "there is none"
        click.echo(f"    the other version: {other}")
    if report.kept:
        click.echo(f"somebody else's files are left in {visible(report.kept)}")
