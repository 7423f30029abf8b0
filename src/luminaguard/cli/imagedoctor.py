"""`luminaguard image doctor`: what a project's tests would miss in an image."""

import json
from pathlib import Path

import click

from luminaguard.config import Settings
from luminaguard.domain.visible import visible
from luminaguard.errors import ImageError
from luminaguard.image.needs.compare import Report, compare
from luminaguard.image.needs.need import Finding, Status
from luminaguard.image.recipe import DEFAULT_NAME
from luminaguard.image.store import ImageStore

MISSING = 1
"""Exit code when something is missing."""
_MARKS = {Status.MISSING: "missing", Status.UNKNOWN: "unknown", Status.PRESENT: "present"}


@click.command("doctor")
@click.argument("directory", type=click.Path(path_type=Path), default=Path())
@click.option("--image", "name", help="The image.  [default: the project's, by the configuration]")
@click.option("--all", "show_all", is_flag=True, help="Also show what is there.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.pass_obj
def doctor_command(
    settings: Settings, directory: Path, name: str | None, *, show_all: bool, as_json: bool
) -> int:
    """Say what the project in DIRECTORY needs and its image lacks, and what would mend it.

    Reads dependency files, build files, scripts and CI steps as text; runs nothing. Exits with 1
    if something is missing, else with 0. What cannot be told is shown as unknown.
    """
    root = directory.resolve()
    configured = settings.image_for(root)
    wanted = name or configured
    store = ImageStore(settings.cache_dir)
    try:
        image = store.current(wanted)
    except ImageError:
        if wanted in store.names() or wanted == DEFAULT_NAME:
            raise  # damaged, or nothing to compare with
        image = store.current(DEFAULT_NAME)  # what a new image has at least
    manifest = store.manifest(image)
    report = compare(root, manifest, wanted)
    notes = list(report.notes)
    if report.mend and wanted != configured:
        notes.append(f'then choose it in {settings.config_file}: [projects."{root}"] image = '
                     f'"{wanted}"')  # fmt: skip
    if as_json:
        click.echo(json.dumps(_table(report, root, manifest.name, image.digest, notes)))
    else:
        _print(report, f"{visible(str(root))} in image {manifest.name}", notes, show_all=show_all)
    return 0 if report.is_complete else MISSING


def _print(report: Report, title: str, notes: list[str], *, show_all: bool) -> None:
    counts = dict.fromkeys(Status, 0)
    for each in report.findings:
        counts[each.status] += 1
    said = ", ".join(f"{counts[status]} {mark}" for status, mark in _MARKS.items())
    click.echo(f"{title}: {said}")
    for each in report.findings:
        if show_all or each.status is not Status.PRESENT:
            click.echo(f"  {_line(each)}")
    for note in notes:
        click.echo(f"note: {visible(note)}")
    if report.mend:
        click.echo(f"mend: {visible(report.mend)}")


def _line(finding: Finding) -> str:
    need = finding.need
    detail = f": {visible(finding.detail)}" if finding.detail else ""
    named = visible(f"{need.name}{need.versions}")
    mark = _MARKS[finding.status]
    return f"{mark:<8} {need.kind.value:<12} {named}  ({visible(need.where)}){detail}"


def _table(
    report: Report, root: Path, image: str, digest: str, notes: list[str]
) -> dict[str, object]:
    return {
        "project": str(root),
        "image": image,
        "digest": digest,
        "complete": report.is_complete,
        "needs": [
            {
                "kind": each.need.kind.value,
                "name": each.need.name,
                "versions": each.need.versions,
                "where": each.need.where,
                "status": each.status.value,
                "detail": each.detail,
            }
            for each in report.findings
        ],
        "mend": report.mend or None,
        "notes": notes,
    }
