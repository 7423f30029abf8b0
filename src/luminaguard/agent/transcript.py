"""The conversation on disk, growing with every message."""

import json
import os
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from luminaguard.llm.model import Message


class Transcript:
    """Appends each message to a private JSON Lines file (0600)."""

    def __init__(self, path: Path, clock: Callable[[], datetime]) -> None:
        self.path = path
        self._clock = clock
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._file = os.fdopen(descriptor, "a", encoding="utf-8")

    def add(self, message: Message) -> None:
        """Write one message through to the file."""
        line = {
            "at": self._clock().isoformat(),
            "role": message.role.value,
            "text": message.text,
            "calls": [
                {"call_id": call.call_id, "tool": call.tool, "arguments": dict(call.arguments)}
                for call in message.calls
            ],
            "call_id": message.call_id,
        }
        self._file.write(json.dumps(line, ensure_ascii=False) + "\n")
        self._file.flush()

    def close(self) -> None:
        """Close the file."""
        self._file.close()
