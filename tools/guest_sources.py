"""What the wheel of a guest image owes to those who get it: license texts, and ways to the sources.

The image itself has no copyright files: they are read from the packages in the cache.
"""

import posixpath
import re
import subprocess
from collections.abc import Iterator
from hashlib import file_digest
from pathlib import Path

from luminaguard.errors import ImageError
from luminaguard.image import deb
from luminaguard.image.apt import file_name
from luminaguard.image.manifest import Manifest, PackageKind, PackageRecord
from luminaguard.image.store import ImageStore

LICENSE_FILE = Path(__file__).parent.parent / "LICENSE"
DOC, COMMON = "usr/share/doc", "usr/share/common-licenses"
FIELDS = r"${source:Package}\n${source:Version}\n${Built-Using}, ${Static-Built-Using}"
BUILT_USING = re.compile(r"([a-z0-9][a-z0-9+.-]+) \(= ([^\s)]+)\)")

SOURCES = """\
Sources of the image {digest}

This package is an aggregate: each part has its own license, in LICENSES/ under the name of its
Debian package; license texts that those refer to are in LICENSES/common/.
{offer}
What is LuminaGuard's own is under LICENSES/luminaguard. Everything else comes from unchanged binary
packages of {distribution}, without some of their files. Get the source of each, on such a system
with source packages enabled, with

    apt-get source NAME=VERSION

or, when a newer version has replaced it, from the distribution's archive of old versions.
How they become this image: `luminaguard image build` (recipe version {recipe}); manifest.json
has the SHA-256 of each binary package.

NAME VERSION: binary packages made from it ("in X": compiled into X)
"""
OFFER = """
Written offer: for at least three years from when you got this package, and as long as spare parts
or support are offered for it, anyone who has this text gets the complete corresponding source, on a
medium customary for software interchange, for no more than the cost of passing it on, from:
{contact}
"""
NO_OFFER = """
No offer of source was made with this copy: it is for its maker's own machines. Before passing it
on, make it anew with a contact, or pass on the sources with it.
"""


def package_path(store: ImageStore, record: PackageRecord) -> Path:
    """Return a package's file in the cache, after comparing it with the manifest."""
    name = file_name(record.name, record.version, record.architecture)
    path = store.cache_dir / "packages" / name
    hint = "fetch it anew with: luminaguard image build --rebuild"
    if not path.is_file():
        raise ImageError(f"{name} is not in the cache", hint=hint)
    with path.open("rb") as stream:
        if file_digest(stream, "sha256").hexdigest() != record.sha256:
            raise ImageError(f"{name} is not what the image was made from", hint=hint)
    return path


def license_texts(path: Path) -> Iterator[tuple[str, bytes | str]]:
    """Return path and content, or path and where the link goes, for what tells of licenses."""
    with deb.payload(path) as archive:
        for member in archive:
            name = posixpath.normpath(member.name)
            if not name.startswith((f"{DOC}/", f"{COMMON}/")):
                continue
            if member.issym():
                yield name, posixpath.normpath(f"{posixpath.dirname(name)}/{member.linkname}")
            elif member.isfile() and (name.endswith("/copyright") or name.startswith(COMMON)):
                stream = archive.extractfile(member)
                yield name, stream.read() if stream is not None else b""


def resolved(texts: dict[str, bytes | str], name: str) -> bytes:
    """Follow links, of files and of their directories, to a text."""
    for _ in range(8):
        content = texts.get(name)
        if isinstance(content, bytes):
            return content
        folder = texts.get(posixpath.dirname(name))
        if isinstance(content, str):
            name = content
        elif isinstance(folder, str):
            name = f"{folder}/{posixpath.basename(name)}"
        else:
            break
    raise ImageError(f"no package of the image has {name}: a license cannot be told")


def sources_of(path: Path, package: str) -> Iterator[tuple[str, str]]:
    """Return each source, "NAME VERSION", and what was made from it."""
    command = ["dpkg-deb", "--show", f"--showformat={FIELDS}", str(path)]
    shown = subprocess.run(command, capture_output=True, check=True, text=True).stdout
    name, number, built_in = shown.split("\n", 2)
    yield f"{name} {number}", package
    for other, its_version in BUILT_USING.findall(built_in):
        yield f"{other} {its_version}", f"in {package}"


def duties(store: ImageStore, manifest: Manifest, digest: str, contact: str) -> dict[str, bytes]:
    """Return the license texts and the list of sources, by path in the package's directory."""
    texts: dict[str, bytes | str] = {}
    made: dict[str, list[str]] = {}
    debs = [each for each in manifest.packages if each.kind is not PackageKind.TOOL]
    for each in debs:
        if each.kind is not PackageKind.DEB:
            raise ImageError(f"{each.name} is a {each.kind}: its license and source are not known")
        path = package_path(store, each)
        texts.update(license_texts(path))
        for source, part in sources_of(path, each.name):
            made.setdefault(source, []).append(part)
    files = {
        f"LICENSES/{each.name}": resolved(texts, f"{DOC}/{each.name}/copyright") for each in debs
    }
    for name in texts:
        if name.startswith(f"{COMMON}/"):
            files[f"LICENSES/common/{posixpath.basename(name)}"] = resolved(texts, name)
    head = SOURCES.format(
        digest=digest,
        offer=OFFER.format(contact=contact) if contact else NO_OFFER,
        distribution=manifest.distribution,
        recipe=manifest.recipe_version,
    )
    lines = [f"{source}: {', '.join(sorted(set(made[source])))}\n" for source in sorted(made)]
    files["SOURCES.txt"] = (head + "".join(lines)).encode()
    files["LICENSES/luminaguard"] = LICENSE_FILE.read_bytes()
    return files
