"""The life of a micro-VM as a total table: every state says what each event makes of it."""

from enum import StrEnum

from luminaguard.errors import VmStateError


class VmState(StrEnum):
    """Where a machine stands."""

    STARTING = "starting"
    RUNNING = "running"
    PAUSED = "paused"
    STOPPED = "stopped"


class VmEvent(StrEnum):
    """What can happen to a machine."""

    READY = "ready"
    PAUSE = "pause"
    RESUME = "resume"
    REQUEST = "request"
    SNAPSHOT = "snapshot"
    STOP = "stop"
    LOST = "lost"


_S, _R, _P, _X = VmState.STARTING, VmState.RUNNING, VmState.PAUSED, VmState.STOPPED

TRANSITIONS: dict[tuple[VmState, VmEvent], VmState | None] = {
    (_S, VmEvent.READY): _R,
    (_S, VmEvent.PAUSE): None,
    (_S, VmEvent.RESUME): None,
    (_S, VmEvent.REQUEST): None,
    (_S, VmEvent.SNAPSHOT): None,
    (_S, VmEvent.STOP): _X,
    (_S, VmEvent.LOST): _X,
    (_R, VmEvent.READY): None,
    (_R, VmEvent.PAUSE): _P,
    (_R, VmEvent.RESUME): _R,
    (_R, VmEvent.REQUEST): _R,
    (_R, VmEvent.SNAPSHOT): _X,
    (_R, VmEvent.STOP): _X,
    (_R, VmEvent.LOST): _X,
    (_P, VmEvent.READY): None,
    (_P, VmEvent.PAUSE): _P,
    (_P, VmEvent.RESUME): _R,
    (_P, VmEvent.REQUEST): None,
    (_P, VmEvent.SNAPSHOT): None,
    (_P, VmEvent.STOP): _X,
    (_P, VmEvent.LOST): _X,
    (_X, VmEvent.READY): None,
    (_X, VmEvent.PAUSE): None,
    (_X, VmEvent.RESUME): None,
    (_X, VmEvent.REQUEST): None,
    (_X, VmEvent.SNAPSHOT): None,
    (_X, VmEvent.STOP): _X,
    (_X, VmEvent.LOST): _X,
}
"""(state, event) → next state; None means that the event is refused there."""


def after(state: VmState, event: VmEvent) -> VmState:
    """Return the state that `event` leads to.

    Raises:
        VmStateError: the event is not allowed in this state.
    """
    following = TRANSITIONS[state, event]
    if following is None:
        raise VmStateError(
            f"a {state} machine cannot {event}", state=state.value, event=event.value
        )
    return following
