"""Fixtures of the end-to-end tests."""

from pathlib import Path

import pytest

from world import World, small_world


@pytest.fixture
def world(tmp_path: Path) -> World:
    return small_world(tmp_path)
