"""Verdicts that were reached before: a bounded store, emptied by every change of the policy.

Only verdicts are kept, which are pure; never decisions, which are given once.
"""

import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field

from luminaguard.domain.verdict import Verdict

MAX_VERDICTS = 4_096


@dataclass(frozen=True, slots=True, kw_only=True)
class VerdictKey:
    """Everything that a verdict depends on besides the policy."""

    call: str
    """Digest of tool and arguments."""
    workspace: str
    cwd: str
    taint: str
    server: str = ""
    trusted: bool = False
    definition: str = ""
    """Digest of the MCP tool's definition; empty for built-in tools."""


@dataclass(slots=True)
class VerdictCache:
    """Verdicts under one policy at a time, those used last. Safe to share between threads."""

    size: int = MAX_VERDICTS
    _version: str = ""
    _verdicts: OrderedDict[VerdictKey, Verdict] = field(
        default_factory=OrderedDict[VerdictKey, Verdict]
    )
    _turn: threading.Lock = field(default_factory=threading.Lock)

    def get(self, version: str, key: VerdictKey, judge: Callable[[], Verdict]) -> Verdict:
        """Return the verdict under this version of the policy; `judge` is asked if it is new."""
        with self._turn:
            if version != self._version:
                self._verdicts.clear()
                self._version = version
            known = self._verdicts.get(key)
            if known is not None:
                self._verdicts.move_to_end(key)
                return known
        verdict = judge()
        with self._turn:
            if version == self._version:
                self._verdicts[key] = verdict
                while len(self._verdicts) > self.size:
                    self._verdicts.popitem(last=False)
        return verdict

    def __len__(self) -> int:
        """Return how many verdicts are kept."""
        return len(self._verdicts)
