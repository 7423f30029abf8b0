"""What an examination found: by attack, by layer, and as a whole."""

from dataclasses import dataclass
from importlib.metadata import version

from luminaguard.doctor.attack import Result, Verdict
from luminaguard.doctor.layers import LAYERS, Layer, how_to_get
from luminaguard.domain.calls import JsonValue
from luminaguard.domain.isolation import Isolation
from luminaguard.vm.hypervisor import Probe

FORMAT = 1
"""Of the JSON object; keys are only ever added under one number."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One layer, and the attacks that it stands for."""

    layer: Layer
    results: tuple[Result, ...]

    @property
    def verdict(self) -> Verdict:
        """Broken if any attack went through; enforced if one was held and none went through."""
        found = {result.finding.verdict for result in self.results}
        for verdict in (Verdict.BROKEN, Verdict.ENFORCED):
            if verdict in found:
                return verdict
        return Verdict.UNAVAILABLE

    def count(self, verdict: Verdict) -> int:
        """Return how many of its attacks ended so."""
        return sum(result.finding.verdict is verdict for result in self.results)


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """Everything that one examination found."""

    results: tuple[Result, ...]
    isolation: Isolation
    probe: Probe
    image: str
    """Digest of the guest image."""
    seconds: float
    complete: bool
    """Whether every attack was tried, not only those asked for."""

    @property
    def rows(self) -> tuple[Row, ...]:
        """Layers that something was tried on, from the inside out."""
        rows = (
            Row(
                layer=layer,
                results=tuple(r for r in self.results if r.attack.layer == layer.key),
            )
            for layer in LAYERS
        )
        return tuple(row for row in rows if row.results)

    @property
    def broken(self) -> tuple[Result, ...]:
        """Attacks that went through, or that nothing shows to have been held."""
        return tuple(r for r in self.results if r.finding.verdict is Verdict.BROKEN)

    @property
    def verdict(self) -> Verdict:
        """The worst of all."""
        return Verdict.BROKEN if self.broken or not self.results else Verdict.ENFORCED

    def as_json(self) -> dict[str, JsonValue]:
        """Return the object that `doctor --json` prints."""
        return {
            "format": FORMAT,
            "luminaguard": version("luminaguard"),
            "verdict": self.verdict.value,
            "complete": self.complete,
            "seconds": round(self.seconds, 1),
            "image": self.image,
            "vm": {**self.isolation.as_json(), "version": self.probe.version},
            "accelerators_refused": [
                {"accelerator": name, "why": why} for name, why in self.probe.tried
            ],
            "missing": [
                {"layer": layer, "why": why, "get": how_to_get(layer)}
                for layer, why in self.isolation.jail.missing.items()
            ],
            "layers": [
                {
                    "key": row.layer.key,
                    "where": row.layer.where.value,
                    "title": row.layer.title,
                    "verdict": row.verdict.value,
                    **{verdict.value.lower(): row.count(verdict) for verdict in Verdict},
                }
                for row in self.rows
            ],
            "attacks": [result.as_json() for result in self.results],
        }
