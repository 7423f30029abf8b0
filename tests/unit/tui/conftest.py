"""Settings for tests of the screen."""

import pytest


@pytest.fixture(autouse=True)
def short_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the toolkit's test driver look more often whether the app has become idle.

    After each key it looks three times, and sleeps 0.02 s each time even where nothing happens.
    Idle stays what it was: less than a millisecond of work between two looks.
    """
    monkeypatch.setattr("textual._wait.SLEEP_GRANULARITY", 1 / 200)
