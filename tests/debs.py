"""Real .deb files, small and made on the spot: well-formed ones and hostile ones."""

import io
import tarfile
from collections.abc import Iterable
from pathlib import Path


def member(name: str, content: bytes = b"", **fields: object) -> tuple[tarfile.TarInfo, bytes]:
    """One entry of a tar; `fields` are attributes of TarInfo."""
    info = tarfile.TarInfo(name)
    info.size = len(content)
    info.mode = 0o644
    for field, value in fields.items():
        setattr(info, field, value)
    return info, content


def tar(members: Iterable[tuple[tarfile.TarInfo, bytes]]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for info, content in members:
            archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def opened(members: Iterable[tuple[tarfile.TarInfo, bytes]]) -> tarfile.TarFile:
    return tarfile.open(fileobj=io.BytesIO(tar(members)))


def write_deb(
    path: Path,
    members: Iterable[tuple[tarfile.TarInfo, bytes]],
    *,
    name: str = "sample",
    version: str = "1.0",
    depends: str = "",
    postinst: str = "",
) -> Path:
    """Write a .deb (an `ar` of two tars) by hand: dpkg-deb --build refuses hostile names."""
    control = f"Package: {name}\nVersion: {version}\nArchitecture: all\nMaintainer: t <t@t>\n"
    control += f"Installed-Size: 4\nDescription: t\n{f'Depends: {depends}' if depends else ''}"
    scripts = [member("./control", control.rstrip().encode() + b"\n")]
    if postinst:
        scripts.append(member("./postinst", postinst.encode(), mode=0o755))
    parts = {
        "debian-binary": b"2.0\n",
        "control.tar": tar(scripts),
        "data.tar": tar(members),
    }
    with path.open("wb") as deb:
        deb.write(b"!<arch>\n")
        for part, content in parts.items():
            deb.write(f"{part:<16}{0:<12}{0:<6}{0:<6}{100644:<8}{len(content):<10}`\n".encode())
            deb.write(content + b"\n" * (len(content) % 2))
    return path
