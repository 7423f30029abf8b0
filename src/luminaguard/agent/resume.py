"""Going on with a conversation that ended, whichever way it did."""

from collections.abc import Sequence

from luminaguard.agent.wording import NO_END, RESUMED
from luminaguard.llm.model import Message, Role


def resumed(messages: Sequence[Message], system_prompt: str) -> list[Message]:
    """Return an earlier conversation with today's system prompt and an answer to every call.

    A call whose answer was never written (LuminaGuard was killed, say) is answered with just that.
    """
    found = [Message(role=Role.SYSTEM, text=system_prompt)]
    open_calls: dict[str, None] = {}
    for message in messages:
        if message.role is Role.SYSTEM:
            continue
        if message.role is not Role.TOOL:
            found += _answered(open_calls)
            open_calls = {call.call_id: None for call in message.calls}
        else:
            open_calls.pop(message.call_id, None)
        found.append(message)
    return [*found, *_answered(open_calls), Message(role=Role.USER, text=RESUMED)]


def _answered(open_calls: dict[str, None]) -> list[Message]:
    return [Message(role=Role.TOOL, text=NO_END, call_id=call_id) for call_id in open_calls]
