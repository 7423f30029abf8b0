"""Booting a guest from its image: the slow way, once per template, and the way to probe a host."""

import os
import re
from collections.abc import Generator
from contextlib import ExitStack, contextmanager

import anyio
from anyio.to_thread import run_sync

from luminaguard.errors import (
    BootTimeout,
    GuestLost,
    HypervisorUnavailable,
    ImageError,
    VmError,
    WireError,
)
from luminaguard.image.image import GuestImage
from luminaguard.image.initrd import hardening_cpio
from luminaguard.vm.agentfiles import agent_archive
from luminaguard.vm.backends.qemu.command import Shape, boot_command
from luminaguard.vm.backends.qemu.launch import Files, Launched, Launcher
from luminaguard.vm.hardening import HardeningProfile
from luminaguard.vm.linux import memory_file, read_at
from luminaguard.vm.savedmemory import sealed_copy

_USER_SPACE = b"Run /init as init process"
"""The kernel's last word before the first program starts. Source: Linux, init/main.c."""
_TERMINAL_CONTROL = re.compile(r"\x1b(\[[0-?]*[ -/]*[@-~]|.)")
"""Escape sequences. Source: ECMA-48, control sequences."""
_CONSOLE_POLL_S = 0.02
_CONSOLE_LIMIT_S = 20.0
_CONSOLE_LINES = 12
_CONSOLE_BYTES = 256 * 1024


@contextmanager
def boot_files(
    image: GuestImage, profile: HardeningProfile, memory: int, *, console: int | None = None
) -> Generator[Files]:
    """Open what a boot needs; kernel and RAM disk as sealed copies that any uid can read."""
    with ExitStack() as opened:

        def keep(fd: int) -> int:
            opened.callback(os.close, fd)
            return fd

        try:
            kernel = image.kernel.read_bytes()
            policy = image.policy(profile.lsm).read_bytes()
            parts = (image.initrd.read_bytes(), agent_archive())
            initrd = b"".join((*parts, hardening_cpio(profile.to_bytes(), policy)))
            root = keep(os.open(image.rootfs, os.O_RDONLY))
        except OSError as problem:
            raise ImageError(
                f"the image cannot be read: {problem}",
                hint="luminaguard image build",
            ) from problem
        yield Files(
            memory=memory,
            root=root,
            kernel=keep(sealed_copy("luminaguard-kernel", kernel)),
            initrd=keep(sealed_copy("luminaguard-initrd", initrd)),
            console=console,
        )


async def boot(launcher: Launcher, image: GuestImage, shape: Shape, memory: int) -> Launched:
    """Boot a guest until its agent answers.

    `memory`: an empty memory file of the shape's size, which stays the caller's.

    Raises:
        BootTimeout: it did not answer; the message ends with what a console shows.
    """
    limit_s = shape.accelerator.boot_limit_s
    with boot_files(image, shape.profile, memory) as files:
        launched = await launcher.launch(shape, files, boot_command)
    try:
        await launched.client.hello(limit_s)
    except WireError:
        await end(launched)
        raise
    except GuestLost as lost:
        await end(launched)
        console = await _console_of(launcher, image, shape)
        raise BootTimeout(
            f"the guest did not come up ({lost}); its console, booted once more, ended with:\n"
            f"{console}",
            hint="luminaguard doctor",
        ) from lost
    except BaseException:
        await end(launched)
        raise
    return launched


async def reaches_user_space(launcher: Launcher, image: GuestImage, shape: Shape) -> str | None:
    """Boot a guest until its first program starts; return why it did not, None when it did.

    Raises:
        HypervisorUnavailable: no guest can be confined on this host, whatever the accelerator.
    """
    try:
        console, came_up = await _watch_boot(
            launcher, image, shape, limit_s=shape.accelerator.boot_limit_s, until=_USER_SPACE
        )
    except HypervisorUnavailable:
        raise
    except VmError as problem:
        return str(problem)
    if came_up:
        return None
    shown = [line.strip() for line in console.splitlines() if line.strip()]
    last = shown[-1:] or ["an empty console"]
    return f"no user space within {shape.accelerator.boot_limit_s:g} s; last seen: {last[0]}"


async def _console_of(launcher: Launcher, image: GuestImage, shape: Shape) -> str:
    limit_s = min(_CONSOLE_LIMIT_S, shape.accelerator.boot_limit_s)
    try:
        console, _ = await _watch_boot(launcher, image, shape, limit_s=limit_s, until=None)
    except VmError as problem:
        return f"({problem})"
    return "\n".join(console.splitlines()[-_CONSOLE_LINES:]) or "(nothing)"


async def _watch_boot(
    launcher: Launcher, image: GuestImage, shape: Shape, *, limit_s: float, until: bytes | None
) -> tuple[str, bool]:
    """Boot with a console; return what it showed, and whether `until` was seen.

    Ends early when QEMU ends or `until` appears.
    """
    with ExitStack() as opened:
        memory = memory_file("luminaguard-guest", shape.memory_bytes)
        opened.callback(os.close, memory)
        console = memory_file("luminaguard-console")
        opened.callback(os.close, console)
        with boot_files(image, shape.profile, memory, console=console) as files:
            launched = await launcher.launch(shape, files, boot_command)
        seen = False
        try:
            with anyio.move_on_after(limit_s):
                while launched.process.alive and not seen:
                    await anyio.sleep(_CONSOLE_POLL_S)
                    seen = until is not None and until in await run_sync(_tail, console)
        finally:
            await end(launched)
        text = _tail(console).decode(errors="replace")
    return _printable(text), seen


def _printable(text: str) -> str:
    """Leave out what a firmware or a hostile guest may send to steer a terminal."""
    plain = _TERMINAL_CONTROL.sub("", text)
    return "".join(char for char in plain if char == "\n" or char.isprintable())


def _tail(console: int) -> bytes:
    size = os.fstat(console).st_size
    start = max(size - _CONSOLE_BYTES, 0)
    return read_at(console, size - start, start)


async def end(launched: Launched) -> None:
    """End a QEMU, whatever cancels its user meanwhile."""
    with anyio.CancelScope(shield=True):
        await launched.end()
