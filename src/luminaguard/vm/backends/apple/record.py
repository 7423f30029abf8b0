"""What a probe found on this Mac, kept until macOS, the image or the agent changes."""

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from luminaguard.domain.calls import canonical_json


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """The result of trying."""

    saving_problem: str | None
    """Why machines cannot be saved and restored here; None when it worked."""
    entropy: bool = True
    """Whether machines have a random number device; without it they may be easier to save."""


class FoundRecord:
    """The record in the cache directory."""

    def __init__(self, cache_dir: Path) -> None:
        """Use `cache_dir`/apple/probe.json."""
        self._path = cache_dir / "apple" / "probe.json"

    def read(self, identity: str) -> Found | None:
        """Return what was found under the same circumstances, None otherwise."""
        try:
            kept = cast("dict[str, object]", json.loads(self._path.read_bytes()))
            if kept["identity"] != identity:
                return None
            problem, entropy = kept["saving_problem"], kept["entropy"]
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return Found(
            saving_problem=None if problem is None else str(problem), entropy=entropy is True
        )

    def write(self, identity: str, found: Found) -> None:
        """Keep it; the file is replaced as a whole."""
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        content = canonical_json(
            {
                "identity": identity,
                "saving_problem": found.saving_problem,
                "entropy": found.entropy,
            }
        )
        unfinished = self._path.with_name(f".probe-{os.getpid()}")
        try:
            unfinished.write_bytes(content)
            unfinished.replace(self._path)
        finally:
            unfinished.unlink(missing_ok=True)
