"""The main job, end to end, on a sample project: `make demo`.

A scripted model mends a failing test and deletes a file. On a terminal you decide about each card;
without one the first card is approved and the second rejected, and the demo says so.
"""

import shutil
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import anyio
import click

from luminaguard.approval.approver import Approver
from luminaguard.approval.approvers import utc_now
from luminaguard.approval.card import DiffCard
from luminaguard.approval.look import Look
from luminaguard.approval.plain import full
from luminaguard.approval.tty import TtyApprover, has_terminal
from luminaguard.audit.query import Query
from luminaguard.audit.reader import AuditReader
from luminaguard.audit.records import facts_of
from luminaguard.cli.interrupts import interrupts
from luminaguard.cli.main import complain
from luminaguard.cli.narrator import Narrator
from luminaguard.cli.present import notice
from luminaguard.config import Settings, load
from luminaguard.domain.approval import ApprovalRequest, Decision, End
from luminaguard.errors import LuminaGuardError
from luminaguard.llm.scripted import ScriptedModel
from luminaguard.runtime import Session

HERE = Path(__file__).parent
TASK = "Make the tests pass and remove what is stale."


class DemoApprover:
    """Shows each card; approves the first and rejects all others. It says that it is no human."""

    name = "demo"

    def __init__(self) -> None:
        """Begin with no card shown."""
        self._shown = 0

    async def decide(self, request: ApprovalRequest, card: DiffCard) -> Decision:
        """Print the card and give the next prepared answer."""
        self._shown += 1
        click.echo()
        color = sys.stdout.isatty()
        for line in full(card, Look(columns=100, rows=40, color=color, unicode=True)):
            click.echo(line)
        end = End.APPROVED if self._shown == 1 else End.REJECTED
        reason = "the demo approves its first card" if self._shown == 1 else "keep it for now"
        click.echo(f"  [no terminal: the demo answers by itself] → {end.value}: {reason}\n")
        return Decision(
            end=end,
            request_digest=request.digest,
            approver=self.name,
            reason=reason,
            at=utc_now(),
            proof="a prepared answer, not a human",
        )


async def demo(workspace: Path, settings: Settings, approver: Approver) -> None:
    """Let the scripted agent work on a copy of the sample project."""
    model = ScriptedModel.from_file(HERE / "script.json")
    session = Session(workspace, approver=approver, settings=settings, notice=notice)
    async with session, interrupts(session.interrupt):
        finished = await session.run(TASK, model=model, observer=Narrator())
    click.echo(f"\nThe run ended: {finished.stop.value}.")


def show_result(workspace: Path) -> None:
    """Say what reached the project and what did not."""
    click.secho("\nWhat is on the host now", bold=True)
    fixed = "price * quantity" in (workspace / "tally.py").read_text()
    click.echo(f"  tally.py      {'mended: the approved bytes' if fixed else 'as it was'}")
    stale = workspace / "tally_old.py"
    same = stale.exists() and stale.read_bytes() == (HERE / "project/tally_old.py").read_bytes()
    kept = "still there, bit for bit" if same else "deleted, as approved"
    click.echo(f"  tally_old.py  {kept}")
    leftovers = [path.name for path in workspace.rglob(".luminaguard*")]
    click.echo(f"  left behind by rehearsals: {', '.join(leftovers) or 'nothing'}")


def show_audit(settings: Settings) -> bool:
    """Print the trail and whether it verifies."""
    click.secho("\nThe audit trail", bold=True)
    reader = AuditReader(settings.state_dir)
    for record in reader.find(Query(newest_first=False)):
        facts = facts_of(record.body)
        about = " ".join(
            word for word in (facts.tool, facts.lane, facts.risk, facts.decision) if word
        )
        click.echo(f"  {record.seq:>3}  {record.kind:<19} {about:<40} {record.hash[:12]}")
    verified = reader.verify()
    click.echo(
        f"  verified: {verified.count} records, chained and signed"
        if verified.ok
        else f"  NOT VERIFIED: {verified.problem}"
    )
    return verified.ok


def main() -> None:
    """Run the demo in a directory of its own; the user's audit log is not touched."""
    with tempfile.TemporaryDirectory(prefix="luminaguard-demo-") as scratch:
        workspace = Path(scratch) / "tally"
        shutil.copytree(HERE / "project", workspace)
        settings = replace(load(), state_dir=Path(scratch) / "state")
        approver: Approver = TtyApprover() if has_terminal() else DemoApprover()
        click.secho(f"The project: {workspace}\nThe task: {TASK}\n", bold=True)
        try:
            anyio.run(demo, workspace, settings, approver)
        except LuminaGuardError as error:
            complain(error)
            sys.exit(125)
        show_result(workspace)
        sys.exit(0 if show_audit(settings) else 1)


if __name__ == "__main__":
    main()
