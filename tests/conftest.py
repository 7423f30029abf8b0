"""Settings for every test."""

import pytest

from guestimage import ready_image
from luminaguard.image.image import GuestImage

pytest_plugins = ["vm_fixtures"]


@pytest.fixture
def anyio_backend() -> str:
    """All product code runs on asyncio."""
    return "asyncio"


@pytest.fixture(scope="session")
def guest_image() -> GuestImage:
    """The image that real machines boot; the test is skipped where none can be had."""
    return ready_image()
