"""Judges: each says from evidence whether an attack was held. Silence is never taken for success.

Every judge first wants proof that the attack ran; then it wants the refusals by name. An error that
its control does not give means that the attack got past the control and failed on something else.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from luminaguard.doctor.attack import DONE, Evidence, Finding, Judge, Step, Verdict
from luminaguard.domain.calls import JsonValue

MEANING: Mapping[str, str] = {
    "EPERM": "no right",
    "EACCES": "access denied",
    "ENOENT": "not there",
    "ENOSYS": "no such call",
    "EROFS": "read-only",
    "ESRCH": "no such process",
    "ENETUNREACH": "no network",
    "EAFNOSUPPORT": "no such network",
    "ENOSPC": "limit reached",
    "EAGAIN": "limit reached",
    "EMFILE": "limit reached",
    "ENOMEM": "limit reached",
    "EFBIG": "limit reached",
}
"""What an error name says of the control that answered. Source: errno(3), the calls' own pages."""


def enforced(reason: str) -> Finding:
    """Return that the attack was held, and by what."""
    return Finding(verdict=Verdict.ENFORCED, reason=reason)


def broken(reason: str) -> Finding:
    """Return that the attack went through, or that nothing shows that it did not."""
    return Finding(verdict=Verdict.BROKEN, reason=reason)


def unavailable(reason: str, get: str) -> Finding:
    """Return that this host lacks what the control needs."""
    return Finding(verdict=Verdict.UNAVAILABLE, reason=reason, get=get)


def unproven(evidence: Evidence, *, ends: frozenset[str] = frozenset({DONE})) -> str | None:
    """Return why evidence proves nothing; None when the attack ran to one of these ends."""
    if evidence.trouble:
        return evidence.trouble
    if not evidence.ran:
        return "it never ran"
    if evidence.ended not in ends:
        return f"it did not come to its end: {evidence.ended or 'nothing more was heard'}"
    return None if evidence.steps else "it tried nothing"


@dataclass(frozen=True, slots=True)
class Refused:
    """Held when everything that was tried was refused, each time by an error of the control's."""

    errors: frozenset[str]
    at_least: int = 1
    """Steps that must have been tried."""

    def __call__(self, evidence: Evidence) -> Finding:
        """Judge."""
        if evidence.ended == "signal 31" and not evidence.trouble and evidence.ran:
            return enforced("killed by the system call filter (SIGSYS)")
        trouble = unproven(evidence)
        if trouble:
            return broken(trouble)
        for step in evidence.steps:
            if step.refused is None:
                return broken(f"{step.did} went through{_gave(step)}")
            if step.refused not in self.errors:
                return broken(f"{step.did} got past the control, as far as {step.refused}")
        if len(evidence.steps) < self.at_least:
            return broken(f"only {len(evidence.steps)} of {self.at_least} attempts were made")
        return enforced(answers(evidence))


@dataclass(frozen=True, slots=True)
class Stops:
    """Held when what was repeated was refused in the end, and not later than the limit allows."""

    errors: frozenset[str]
    at_most: int
    at_least: int = 1
    ends: frozenset[str] = frozenset()
    """Ends other than "done" that the control brings about: "signal 9", ..."""

    def __call__(self, evidence: Evidence) -> Finding:
        """Judge."""
        trouble = unproven(evidence, ends=self.ends | {DONE})
        if trouble:
            return broken(trouble)
        last = evidence.steps[-1]
        if not isinstance(last.value, int) or isinstance(last.value, bool):
            return broken(f"{last.did} does not say how far it got")
        if last.value > self.at_most:
            return broken(f"{last.did} got to {last.value}, and {self.at_most} is the limit")
        if last.value < self.at_least:
            return broken(f"{last.did} stopped at {last.value}: something else stood in the way")
        if last.refused in self.errors:
            return enforced(f"{last.did} stopped at {last.value}: {last.refused}")
        if last.refused is None and evidence.ended in self.ends:
            return enforced(f"{last.did}: ended by {evidence.ended} after {last.value}")
        return broken(f"{last.did} got to {last.value} and was not refused ({last.refused})")


@dataclass(frozen=True, slots=True)
class Shows:
    """Held when every one of these facts was told, with exactly this value, once."""

    facts: Mapping[str, JsonValue]
    errors: frozenset[str] = frozenset()
    """What must have refused every other step."""
    ends: frozenset[str] = frozenset({DONE})
    """How the attack may have ended."""

    def __call__(self, evidence: Evidence) -> Finding:
        """Judge."""
        trouble = unproven(evidence, ends=self.ends)
        if trouble:
            return broken(trouble)
        for did, wanted in self.facts.items():
            told = [step for step in evidence.steps if step.did == did]
            if len(told) != 1 or told[0].refused is not None:
                return broken(f"nothing says once: {did}")
            if told[0].value != wanted:
                return broken(f"{did}: {told[0].value}, not {wanted}")
        others = tuple(step for step in evidence.steps if step.did not in self.facts)
        shown = ", ".join(f"{did}: {value}" for did, value in self.facts.items())
        if not others:
            return enforced(shown)
        finding = Refused(self.errors)(Evidence(steps=others, ran=True, ended=DONE))
        return finding if finding.verdict is not Verdict.ENFORCED else enforced(finding.reason)


@dataclass(frozen=True, slots=True)
class Differ:
    """Held when all steps of each name gave values, at least two of them, and no two the same."""

    dids: tuple[str, ...]

    def __call__(self, evidence: Evidence) -> Finding:
        """Judge."""
        trouble = unproven(evidence)
        if trouble:
            return broken(trouble)
        for did in self.dids:
            values = [step.value for step in evidence.steps if step.did == did]
            if len(values) < 2 or any(value in (None, "", 0) for value in values):
                return broken(f"not two machines told: {did}")
            if len({str(value) for value in values}) != len(values):
                return broken(f"the same in two machines: {did}: {values[0]}")
        return enforced("different in every machine: " + ", ".join(self.dids))


@dataclass(frozen=True, slots=True)
class AtMost:
    """Held when each of these measured numbers was told and is within its bounds."""

    bounds: Mapping[str, tuple[float, float]]
    """Fact → least and most."""

    def __call__(self, evidence: Evidence) -> Finding:
        """Judge."""
        trouble = unproven(evidence)
        if trouble:
            return broken(trouble)
        shown: list[str] = []
        for did, (least, most) in self.bounds.items():
            values = [step.value for step in evidence.steps if step.did == did]
            if len(values) != 1 or isinstance(values[0], bool):
                return broken(f"nothing says once: {did}")
            if not isinstance(values[0], (int, float)) or not least <= values[0] <= most:
                return broken(f"{did}: {values[0]}, not within {least:g} and {most:g}")
            shown.append(f"{did}: {values[0]:g}")
        return enforced(", ".join(shown))


@dataclass(frozen=True, slots=True)
class All:
    """Held when every one of several judges says so; the first that does not is the finding."""

    judges: tuple[Judge, ...]

    def __call__(self, evidence: Evidence) -> Finding:
        """Judge."""
        reasons: list[str] = []
        for judge in self.judges:
            finding = judge(evidence)
            if finding.verdict is not Verdict.ENFORCED:
                return finding
            reasons.append(finding.reason)
        return enforced("; ".join(reasons))


@dataclass(frozen=True, slots=True)
class Of:
    """Give one judge only the steps that a test picks, so that others may judge the rest."""

    pick: Callable[[Step], bool]
    judge: Judge

    def __call__(self, evidence: Evidence) -> Finding:
        """Judge."""
        steps = tuple(step for step in evidence.steps if self.pick(step))
        return self.judge(
            Evidence(steps=steps, ran=evidence.ran, ended=evidence.ended, trouble=evidence.trouble)
        )


LIVES, TOOK, LEFT = "a command right after", "seconds until it ended", "processes left behind"
KEPT, DROPPED = "bytes of stderr kept", "bytes of stderr dropped"
"""What the host sees of an attack that had a machine of its own: the next command's exit code, how
long the attack took, how many processes it left and lost, what became of its output."""


@dataclass(frozen=True, slots=True)
class Survived:
    """Held when the judge says so, and the machine went on: the next command ended well."""

    judge: Judge
    within_s: float = 60.0

    def __call__(self, evidence: Evidence) -> Finding:
        """Judge."""
        seen = {step.did: step.value for step in evidence.host}
        took = seen.get(TOOK)
        if evidence.host and seen.get(LIVES) != 0:
            return broken(f"the machine could not go on: {LIVES} ended with {seen.get(LIVES)}")
        if not evidence.host or not isinstance(took, (int, float)):
            return broken(evidence.trouble or "the host saw nothing of it")
        if took > self.within_s:
            return broken(f"it took {took:g} s, and {self.within_s:g} s is the limit")
        return self.judge(evidence)


def refused(*errors: str, at_least: int = 1) -> Refused:
    """Return the judge that wants each attempt refused by one of these errors."""
    return Refused(frozenset(errors), at_least)


def answers(evidence: Evidence) -> str:
    """Return which errors refused, what they mean, and how many came from the filter."""
    counts: dict[tuple[str, str], int] = {}
    for step in evidence.steps:
        if step.refused is not None:
            meaning = "system call filter" if step.filtered else MEANING.get(step.refused, "")
            counts[step.refused, meaning] = counts.get((step.refused, meaning), 0) + 1
    return ", ".join(_answer(*answer, count) for answer, count in counts.items())


def _answer(name: str, meaning: str, count: int) -> str:
    times = f" x{count}" if count > 1 else ""
    return f"{name}{times}" + (f" ({meaning})" if meaning else "")


def _gave(step: Step) -> str:
    return "" if step.value is None else f": {str(step.value)[:60]}"
