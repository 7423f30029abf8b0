"""An attack, the evidence that trying it gave, and the finding: all of them values."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from luminaguard.doctor.ground import Ground
from luminaguard.domain.calls import JsonValue


class Where(StrEnum):
    """Where the attacker stands."""

    INSIDE = "inside"
    """A command in a guest, as its ordinary user."""
    VMM = "vmm"
    """The QEMU process, taken over by its guest."""
    LIFECYCLE = "lifecycle"
    """Whoever profits from how machines come, go and are kept."""


class Verdict(StrEnum):
    """What trying an attack showed."""

    ENFORCED = "enforced"
    UNAVAILABLE = "unavailable"
    """This host lacks what the control needs; the finding says why and how to get it."""
    BROKEN = "BROKEN"
    """It went through, or nothing shows that it did not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One thing that was tried, and what answered."""

    did: str
    refused: str | None = None
    """Name of the error that refused it ("EPERM", "TemplateError"); None when it went through."""
    value: JsonValue = None
    """What it gave, or how far it got."""
    filtered: bool = False
    """The refusal came before the kernel looked at the arguments: from the system call filter."""

    def as_json(self) -> dict[str, JsonValue]:
        """Return the form that `doctor --json` prints as evidence."""
        return {
            "did": self.did,
            "refused": self.refused,
            "value": self.value,
            "filtered": self.filtered,
        }


DONE = "done"


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """Everything that one attack showed. Without a proof that it ran, it shows nothing."""

    steps: tuple[Step, ...] = ()
    ran: bool = False
    """The attack began: its nonce came back from where it was tried."""
    ended: str = ""
    """`DONE`, or how it was ended: "signal 9", "late", "killed"; "" when nothing is known."""
    trouble: str | None = None
    """Why the evidence cannot be believed."""
    host: tuple[Step, ...] = ()
    """What the host saw of it from outside, for an attack that had a machine of its own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What an attack's judge says."""

    verdict: Verdict
    reason: str
    """One line: which answers held it, what got through, or what is missing."""
    get: str | None = None
    """How to get what is unavailable."""


class CannotTry(Exception):
    """This host lacks what an attack, or the control that it is against, needs.

    Only what was looked for and not found says so: a control that fails is not lacking, it fails.
    """

    def __init__(self, why: str, get: str) -> None:
        """Say what is lacking, and how to get it."""
        super().__init__(why)
        self.get = get


Judge = Callable[[Evidence], Finding]
Stage = Callable[[Ground], Awaitable[Sequence[Step]]]
"""Host-side code that tries an attack over whole machines and returns what happened."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GuestScript:
    """Python for a command in the guest, in the words of `kit.py`."""

    code: str
    alone: bool = False
    """It harms its machine, so it gets an execution of its own, and the machine is looked at."""
    limit_s: float = 20.0


@dataclass(frozen=True, slots=True, kw_only=True)
class JailScript:
    """Shell for a process that stands exactly where QEMU stands, in the words of `jailkit.sh`."""

    code: str
    needs: str | None = None
    """Layer of `Isolation.jail` without which the attack is not tried: it would hurt the host."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attack:
    """One attack: what it does, what has to stop it, and who judges."""

    name: str
    """A few words with dashes; stable, as scripts and tests name it."""
    layer: str
    """Key of `layers.LAYERS`: where it counts in the table."""
    control: str
    """What has to stop it, in words."""
    where: Where
    script: GuestScript | JailScript | Stage
    judge: Judge


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """An attack that was tried."""

    attack: Attack
    finding: Finding
    evidence: Evidence

    def as_json(self) -> dict[str, JsonValue]:
        """Return one entry of `doctor --json`."""
        return {
            "name": self.attack.name,
            "layer": self.attack.layer,
            "where": self.attack.where.value,
            "control": self.attack.control,
            "verdict": self.finding.verdict.value,
            "reason": self.finding.reason,
            "get": self.finding.get,
            "ended": self.evidence.ended,
            "evidence": [step.as_json() for step in self.evidence.steps],
            "seen_by_host": [step.as_json() for step in self.evidence.host],
        }
