"""Settings for every test."""

import os

import pytest

from guestimage import ready_image
from luminaguard.image.image import GuestImage

pytest_plugins = ["vm_fixtures"]


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add `--long`, for `make test-long`."""
    parser.addoption("--long", action="store_true", help="run soaks and large figures as well")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave long tests out unless asked for, and say why a test that needs root is skipped."""
    if not config.getoption("--long"):
        long = [item for item in items if item.get_closest_marker("long")]
        config.hook.pytest_deselected(items=long)
        items[:] = [item for item in items if item not in long]
    if not hasattr(os, "geteuid") or os.geteuid() != 0:
        for item in items:
            if item.get_closest_marker("root"):
                item.add_marker(pytest.mark.skip(reason="needs root"))


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """All product code runs on asyncio."""
    return "asyncio"


@pytest.fixture(scope="session")
def guest_image() -> GuestImage:
    """The image that real machines boot; the test is skipped where none can be had."""
    return ready_image()
