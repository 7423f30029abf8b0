"""What a screen is opened for: a run of its own process, or whatever others ask."""

from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from typing import TYPE_CHECKING

from luminaguard.tui.trail import Trail

if TYPE_CHECKING:
    from luminaguard.tui.app import CliffApp


@dataclass(frozen=True, slots=True, kw_only=True)
class RunHere:
    """The run that a screen belongs to."""

    trail: Trail
    interrupt: Callable[[], None]
    """Called for Ctrl-C."""
    pool_text: Callable[[], str] = str
    """Returns the state of the machines in a few words; empty: unknown."""
    cost_text: Callable[[], str] = str
    """Returns what the run has cost so far; empty: unknown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Others:
    """What a screen needs that looks at other processes."""

    watch: Callable[["CliffApp"], Coroutine[None, None, None]]
    """Runs beside the screen; attaches desks and tells the story."""
    prove: Callable[[str], Awaitable[None]]
    """Takes the approver secret; raises a LuminaGuardError if it is not the enrolled one."""
    pool_text: Callable[[], str] = str
    """Returns the state of the machines in a few words; empty: unknown."""
