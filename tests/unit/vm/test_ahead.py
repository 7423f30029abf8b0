"""A machine begun early goes to the first to ask, and to nobody else."""

from collections.abc import Mapping

import anyio
import pytest

from luminaguard.errors import GuestLost, LuminaGuardError
from luminaguard.vm.ahead import started_ahead
from luminaguard.vm.hypervisor import MicroVM

pytestmark = pytest.mark.anyio


class CountedLease:
    """A lease that tells whether it was released."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.released = 0
        self.timings_ms: Mapping[str, float] = {"template_ms": 80.0, "restore_ms": 70.0}

    @property
    def vm(self) -> MicroVM:
        raise NotImplementedError

    def renew(self) -> None:
        raise GuestLost(f"renewed {self.number}")

    async def release(self) -> None:
        self.released += 1


class CountingSource:
    """Makes leases once `may_make` is set."""

    def __init__(self, problem: LuminaGuardError | None = None) -> None:
        self.made: list[CountedLease] = []
        self.may_make = anyio.Event()
        self.begun = anyio.Event()
        self._problem = problem

    async def lease(self, owner: str) -> CountedLease:
        self.begun.set()
        await self.may_make.wait()
        if self._problem is not None:
            raise self._problem
        self.made.append(CountedLease(len(self.made)))
        return self.made[-1]


async def test_the_machine_is_made_before_anybody_asks_and_only_the_first_gets_it() -> None:
    source = CountingSource()
    with anyio.fail_after(5):
        async with started_ahead(source) as machines:
            await source.begun.wait()
            source.may_make.set()
            first = await machines.lease("session-1")
            with pytest.raises(GuestLost, match="renewed 0"):
                first.renew()
            second = await machines.lease("session-1")
            with pytest.raises(GuestLost, match="renewed 1"):
                second.renew()
            await first.release()
    assert [lease.released for lease in source.made] == [1, 0]


async def test_its_owner_is_charged_only_for_what_it_waited() -> None:
    source = CountingSource()
    source.may_make.set()
    with anyio.fail_after(5):
        async with started_ahead(source) as machines:
            await anyio.wait_all_tasks_blocked()
            lease = await machines.lease("session-1")
    assert lease.timings_ms["restore_ms"] < 70


async def test_a_machine_that_nobody_asked_for_is_destroyed() -> None:
    source = CountingSource()
    source.may_make.set()
    with anyio.fail_after(5):
        async with started_ahead(source):
            await anyio.wait_all_tasks_blocked()
    assert [lease.released for lease in source.made] == [1]


async def test_leaving_does_not_wait_for_a_machine_that_is_still_being_made() -> None:
    source = CountingSource()
    with anyio.fail_after(5):
        async with started_ahead(source):
            await source.begun.wait()
    assert source.made == []


async def test_what_goes_wrong_is_told_to_whoever_asks_not_to_others() -> None:
    source = CountingSource(GuestLost("QEMU did not start"))
    source.may_make.set()
    with anyio.fail_after(5):
        async with started_ahead(source) as machines:
            await anyio.wait_all_tasks_blocked()
            with pytest.raises(GuestLost, match="did not start"):
                await machines.lease("session-1")


async def fail_within(source: CountingSource) -> None:
    async with started_ahead(source):
        await anyio.wait_all_tasks_blocked()
        raise KeyError("mine")


async def test_an_error_of_the_body_stays_itself_and_the_machine_is_destroyed() -> None:
    source = CountingSource()
    source.may_make.set()
    with pytest.raises(KeyError):
        await fail_within(source)
    assert [lease.released for lease in source.made] == [1]
