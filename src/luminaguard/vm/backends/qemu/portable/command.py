"""QEMU's command line where nothing is inherited but sockets, if anything at all.

The same devices as everywhere: a root disk, two disk slots that start as placeholders, one port for
the guest agent. Files are named by path, since QEMU on Windows takes no descriptors.
"""

from dataclasses import dataclass
from pathlib import Path

from luminaguard.vm.backends.qemu.command import (
    AGENT_PORT,
    NODE_SCRATCH,
    NODE_WORKSPACE,
    SERIAL_ROOT,
    SERIAL_SCRATCH,
    SERIAL_WORKSPACE,
    Shape,
    kernel_line,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wiring:
    """Where QEMU finds what it needs."""

    control: str
    """Where the chardev of QMP leads: `fd=7`, or `host=127.0.0.1,port=…`."""
    agent: str
    """Likewise, for the guest agent."""
    kernel: Path
    initrd: Path
    root: Path
    console: Path | None = None


def boot_command(shape: Shape, wiring: Wiring) -> list[str]:
    """Return the command that boots a guest in anonymous memory."""
    command = [
        shape.binary,
        *("-nodefaults", "-no-user-config", "-no-reboot"),
        *("-display", "none"),
        *("-object", f"memory-backend-ram,id=ram,size={shape.memory_bytes}"),
        *("-machine", shape.architecture.board),
        *("-accel", shape.accelerator.option),
        *("-cpu", shape.cpu),
        *("-smp", str(shape.vcpus)),
        *("-m", f"{shape.memory_mib}M"),
        *("-chardev", f"socket,id=control,{wiring.control}"),
        *("-mon", "chardev=control,mode=control"),
        *("-chardev", f"socket,id=agent,{wiring.agent}"),
        *("-device", "virtio-serial-pci,max_ports=2"),
        *("-device", f"virtserialport,chardev=agent,name={AGENT_PORT}"),
        *_root_disk(wiring.root),
        *_slot(NODE_WORKSPACE, SERIAL_WORKSPACE, shape.disk_limit_bytes, read_only="on"),
        *_slot(NODE_SCRATCH, SERIAL_SCRATCH, shape.disk_limit_bytes, read_only="off"),
        *("-kernel", str(wiring.kernel)),
        *("-initrd", str(wiring.initrd)),
        *("-append", kernel_line(shape, console=wiring.console is not None)),
    ]
    if wiring.console is not None:
        command += ["-chardev", f"file,id=console,path={escaped(wiring.console)}"]
        command += shape.architecture.console_device
    return command


def escaped(path: Path) -> str:
    """Return a path as a value in one of QEMU's comma-separated options: commas are doubled.

    Source: QEMU documentation, "Key-value pairs" of QemuOpts.
    """
    return str(path).replace(",", ",,")


def _root_disk(path: Path) -> list[str]:
    return [
        "-blockdev",
        f"driver=file,node-name=root-file,filename={escaped(path)},read-only=on,locking=off",
        *("-blockdev", "driver=raw,node-name=root,file=root-file,read-only=on"),
        *("-device", f"virtio-blk-pci,drive=root,serial={SERIAL_ROOT}"),
    ]


def _slot(node: str, serial: str, size_bytes: int, *, read_only: str) -> list[str]:
    """Return a disk that reads as zeros until a file is swapped in under the node."""
    empty = f"driver=null-co,node-name={node}-empty,size={size_bytes},read-zeroes=on"
    return [
        *("-blockdev", f"{empty},read-only={read_only}"),
        *("-blockdev", f"driver=raw,node-name={node},file={node}-empty,read-only={read_only}"),
        "-device",
        f"virtio-blk-pci,drive={node},serial={serial},werror=report,rerror=report",
    ]
