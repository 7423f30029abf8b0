"""The initial RAM disk: drivers, a static shell, and the script that starts the guest agent."""

from pathlib import Path

from luminaguard.errors import ImageError
from luminaguard.image.cpio import CpioEntry, directory, file, pack
from luminaguard.image.modules import ModuleSet


def build_initrd(*, init: bytes, busybox: bytes, modules: ModuleSet) -> bytes:
    """Return the image's own part of the RAM disk: the same for every machine."""
    folders = ("agent", "bin", "dev", "modules", "newroot", "proc", "sys")
    entries = [directory(name) for name in folders]
    entries.append(file("init", init, 0o755))
    entries.append(file("bin/busybox", busybox, 0o755))
    order = [f"{number:02d}-{name}.ko" for number, (name, _) in enumerate(modules.files)]
    entries.append(file("modules/order", "".join(f"{name}\n" for name in order).encode()))
    entries += [
        file(f"modules/{name}", content)
        for name, (_, content) in zip(order, modules.files, strict=True)
    ]
    return pack(entries)


def agent_cpio(package_dir: Path) -> bytes:
    """Return the guest agent as a second archive, to be appended to the image's initrd.

    `package_dir`: the `luminaguard_guest` package. Its `*.py` files come out below
    `/agent/luminaguard_guest/`; the same sources always give the same bytes.

    Raises:
        ImageError: the directory holds no Python package.
    """
    sources = sorted(path for path in package_dir.rglob("*.py") if path.is_file())
    if package_dir / "__init__.py" not in sources:
        raise ImageError(f"{package_dir} is no Python package")
    top = "agent/luminaguard_guest"
    folders = {path.parent.relative_to(package_dir).as_posix() for path in sources} - {"."}
    entries: list[CpioEntry] = [directory("agent"), directory(top)]
    entries += [directory(f"{top}/{folder}") for folder in sorted(folders)]
    entries += [
        file(f"{top}/{path.relative_to(package_dir).as_posix()}", path.read_bytes())
        for path in sources
    ]
    return pack(entries)


def hardening_cpio(profile: bytes, policy: bytes) -> bytes:
    """Return how the guest shall hold its commands as a third archive, after the agent's.

    `profile`: JSON for the agent. `policy`: what its kernel shall enforce, compiled.
    """
    top = "agent/hardening"
    return pack(
        [
            directory(top),
            file(f"{top}/profile.json", profile),
            file(f"{top}/policy", policy),
        ]
    )
