"""Settings for every test."""

import pytest


@pytest.fixture
def anyio_backend() -> str:
    """All product code runs on asyncio."""
    return "asyncio"
