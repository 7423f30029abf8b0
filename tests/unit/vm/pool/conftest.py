"""What tests of the pool share."""

import pytest

from pooling import World


@pytest.fixture
def world() -> World:
    """A fake hypervisor, a clock and a memory, to make pools from."""
    return World()
