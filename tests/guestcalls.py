"""Short words for tests that run commands in real machines and look at what is harvested."""

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Protocol

from luminaguard.domain.execution import Ended, Execution, GuestReport
from luminaguard.domain.harvest import FileBytes, UpperDirectory, UpperFile, UpperRecord
from luminaguard.vm.hypervisor import MicroVM

WORKSPACE = "/work/project"


class Machines(Protocol):
    """Gives a reseeded machine with a directory of the host attached, not mounted yet."""

    def __call__(
        self, tree: Path, *, scratch_mib: int = 64, filesystem: str = "squashfs"
    ) -> AbstractAsyncContextManager[MicroVM]: ...


async def run(
    machine: MicroVM,
    *argv: str,
    cwd: str = WORKSPACE,
    stdin: bytes = b"",
    timeout_s: float = 60,
    env: dict[str, str] | None = None,
    output_limit_bytes: int = 1 << 20,
) -> GuestReport:
    return await machine.execute(
        Execution(
            argv=argv,
            cwd=cwd,
            stdin=stdin,
            timeout_s=timeout_s,
            env=env or {},
            output_limit_bytes=output_limit_bytes,
        )
    )


async def shell(machine: MicroVM, script: str, *, timeout_s: float = 60) -> GuestReport:
    report = await run(machine, "sh", "-c", script, timeout_s=timeout_s)
    assert report.ended is Ended.EXITED, report
    return report


async def python(machine: MicroVM, code: str, *, timeout_s: float = 60) -> GuestReport:
    return await machine.execute(Execution(python=code, cwd=WORKSPACE, timeout_s=timeout_s))


async def harvested(
    machine: MicroVM, *, skip: Sequence[bytes] = ()
) -> tuple[dict[bytes, UpperRecord], dict[bytes, list[FileBytes]]]:
    """Return path → record and path → runs of bytes, having checked the order of the stream."""
    records: dict[bytes, UpperRecord] = {}
    content: dict[bytes, list[FileBytes]] = {}
    last_file: UpperFile | None = None
    async for record in machine.harvest(skip=skip):
        if isinstance(record, FileBytes):
            assert last_file is not None, "bytes that follow no file"
            content[last_file.path].append(record)
            continue
        assert record.path not in records, "a path was reported twice"
        parent = record.path.rpartition(b"/")[0]
        assert not record.path or isinstance(records[parent], UpperDirectory), "child before parent"
        records[record.path] = record
        last_file = record if isinstance(record, UpperFile) else None
        if last_file is not None:
            content[last_file.path] = []
    return records, content


def whole(runs: list[FileBytes], size: int) -> bytes:
    assembled = bytearray(size)
    for part in runs:
        assembled[part.offset : part.offset + len(part.content)] = part.content
    return bytes(assembled)
