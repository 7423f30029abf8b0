"""What `luminaguard doctor` says of each backend."""

from collections.abc import Iterator

from luminaguard.backends import BackendReport, recommendation
from luminaguard.domain.calls import JsonValue


def backend_lines(reports: tuple[BackendReport, ...]) -> Iterator[str]:
    """Yield a line for each backend, what mends it below, and a recommendation at the end."""
    yield "backends"
    for report in reports:
        tier = f" ({report.tier.value})" if report.tier is not None else ""
        yield f"  {report.name:12} {report.state.value}{tier}: {report.detail}"
        if report.hint is not None:
            yield f"  {'':12} mend: {report.hint}"
    advice = recommendation(reports)
    if advice is not None:
        yield f"  {advice}"
    yield ""


def backends_json(reports: tuple[BackendReport, ...]) -> list[JsonValue]:
    """Return the same for programs."""
    return [
        {
            "name": report.name,
            "state": report.state.value,
            "tier": report.tier.value if report.tier is not None else None,
            "detail": report.detail,
            "hint": report.hint,
        }
        for report in reports
    ]
