"""A log in a fresh state directory."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from luminaguard.audit.log import AuditLog


@pytest.fixture
def log(tmp_path: Path) -> Iterator[AuditLog]:
    opened = AuditLog.open(tmp_path)
    yield opened
    opened.close()
