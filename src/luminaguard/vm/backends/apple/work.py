"""From the event loop to a machine's dispatch queue and back.

Virtualization.framework wants every use of a machine on the serial queue that it was made with, and
answers there, on a thread of the system's.
Source: Apple, VZVirtualMachine.init(configuration:queue:).
"""

from collections.abc import Callable
from typing import TypeVar

import anyio
from anyio import from_thread
from anyio.lowlevel import EventLoopToken, current_token

from luminaguard.errors import VmError
from luminaguard.vm.backends.apple.framework import Completion, Framework, NSError, words

_Result = TypeVar("_Result")
_QUICK_S = 10.0
"""For work that only reads or writes properties."""


class Refused(VmError):
    """The framework did not do it; `code` is Apple's VZError code."""

    def __init__(self, message: str, *, apple_code: int) -> None:
        """Keep Apple's words and code."""
        super().__init__(message, apple_code=apple_code)
        self.apple_code = apple_code


class WorkQueue:
    """One machine's serial queue."""

    def __init__(self, framework: Framework, name: str) -> None:
        """Make a queue."""
        self._dispatch = framework.dispatch
        self.handle = framework.dispatch.dispatch_queue_create(name.encode(), None)
        """What the framework takes."""

    async def do(self, work: Callable[[], _Result]) -> _Result:
        """Run quick work on the queue and return its result."""
        results: list[_Result] = []

        def begin(done: Completion) -> None:
            results.append(work())
            done(None)

        await self.ask("answer", begin, limit_s=_QUICK_S)
        return results[0]

    async def ask(self, what: str, begin: Callable[[Completion], None], *, limit_s: float) -> None:
        """Begin something on the queue and wait for its completion handler.

        Not to be cancelled half way: nobody would know what became of it.

        Raises:
            Refused: the framework refused, in its own words.
            VmError: no answer within `limit_s`.
        """
        token, answered = current_token(), anyio.Event()
        errors: list[NSError | None] = []
        raised: list[Exception] = []

        def done(error: NSError | None) -> None:
            errors.append(error)
            _wake(answered, token)

        def run() -> None:
            try:
                begin(done)
            except Exception as problem:  # noqa: BLE001 - raised again where it is waited for
                raised.append(problem)
                _wake(answered, token)

        self._dispatch.dispatch_async(self.handle, run)
        try:
            with anyio.fail_after(limit_s, shield=True):
                await answered.wait()
        except TimeoutError:
            raise VmError(f"macOS did not {what} the machine within {limit_s:g} s") from None
        if raised:
            raise VmError(f"macOS could not {what} the machine: {raised[0]}") from raised[0]
        error = errors[0]
        if error is not None:
            raise Refused(
                f"macOS did not {what} the machine: {words(error)}", apple_code=error.code()
            )


def _wake(answered: anyio.Event, token: EventLoopToken) -> None:
    """Set the event from the queue's thread; a loop that has ended waits for nothing."""
    try:
        from_thread.run_sync(answered.set, token=token)
    except RuntimeError:
        return
