"""Make the wheel `luminaguard-guest` from a built image: for hosts that cannot build their own.

usage: guest_package.py IMAGE_NAME OUT_DIR [--version V] [--contact TEXT]

The same image and packages give the same bytes: entries are sorted, stored uncompressed and carry
no time. Why, and what its maker owes to those who get it: docs/internals/guest-package.md.
"""

import argparse
import base64
import re
import stat
import sys
import zipfile
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path

from guest_sources import duties

from luminaguard.config import load
from luminaguard.errors import ImageError
from luminaguard.image.image import GuestImage
from luminaguard.image.packaged import GROUP
from luminaguard.image.store import ImageStore

PLATFORMS = {
    "amd64": "macosx_10_9_x86_64.manylinux2014_x86_64.musllinux_1_1_x86_64.win_amd64",
    "arm64": "macosx_11_0_arm64.manylinux2014_aarch64.musllinux_1_1_aarch64.win_arm64",
}
"""A guest runs on its own kind of processor, whatever the host's system is: pip chooses by these.
Source: Python's "Platform compatibility tags", compressed tag sets."""


def write_wheel(path: Path, files: dict[str, bytes], info: str) -> None:
    """Write a wheel with a RECORD of its files. Source: PEP 427, "The .dist-info directory"."""
    record: list[str] = []
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as wheel:
        for name, content in sorted(files.items()):
            _add(wheel, name, content)
            digest = base64.urlsafe_b64encode(sha256(content).digest()).rstrip(b"=").decode()
            record.append(f"{name},sha256={digest},{len(content)}\n")
        record.append(f"{info}/RECORD,,\n")
        _add(wheel, f"{info}/RECORD", "".join(record).encode())


def _add(wheel: zipfile.ZipFile, name: str, content: bytes) -> None:
    entry = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
    entry.create_system = 3  # Unix, wherever this runs: the mode below counts
    entry.external_attr = (stat.S_IFREG | 0o644) << 16
    wheel.writestr(entry, content)


def make(store: ImageStore, name: str, out: Path, *, number: str, contact: str = "") -> Path:
    """Write the wheel of a verified image; return its path."""
    image: GuestImage = store.current(name)
    store.verify(image)
    manifest = store.manifest(image)
    suffix = "" if name == "default" else "_" + re.sub(r"[-_.]+", "_", name)
    project, home = f"luminaguard_guest{suffix}", f"luminaguard_guest_image{suffix}"
    info, tags = f"{project}-{number}.dist-info", PLATFORMS[manifest.architecture]
    files = {f"{home}/{image.digest}/{each}": (image.directory / each).read_bytes()
             for each in ("manifest.json", *manifest.artifacts)}  # fmt: skip
    extra = duties(store, manifest, image.digest, contact)
    files |= {f"{home}/{path}": content for path, content in extra.items()}
    wheel_lines = "".join(f"Tag: py3-none-{tag}\n" for tag in tags.split("."))
    files[f"{info}/WHEEL"] = (
        f"Wheel-Version: 1.0\nGenerator: luminaguard\nRoot-Is-Purelib: true\n{wheel_lines}".encode()
    )
    files[f"{info}/entry_points.txt"] = f"[{GROUP}]\n{name} = {home}\n".encode()
    files[f"{info}/METADATA"] = (
        f"Metadata-Version: 2.1\nName: {project.replace('_', '-')}\nVersion: {number}\n"
        f"Summary: Guest image {name!r} of LuminaGuard, Linux {manifest.kernel.version}\n"
        f"License: an aggregate, see {home}/LICENSES and SOURCES.txt; GPL-2.0, GPL-3.0 and others\n"
    ).encode()
    out.mkdir(parents=True, exist_ok=True)
    path = out / f"{project}-{number}-py3-none-{tags}.whl"
    write_wheel(path, files, info)
    return path


def main() -> int:
    """Make the wheel that the command line asks for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("image")
    parser.add_argument("out", type=Path)
    parser.add_argument("--version", default=version("luminaguard"))
    parser.add_argument("--contact", default="", help="who gives out the source, for how to ask")
    asked = parser.parse_args()
    store = ImageStore(load().cache_dir)
    try:
        path = make(store, asked.image, asked.out, number=asked.version, contact=asked.contact)
    except ImageError as error:
        print(f"{error} ({error.hint})" if error.hint else str(error))
        return 1
    print(f"{path}: {round(path.stat().st_size / 1_000_000)} MB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
