"""A package index and an npm registry on the loopback interface, with packages made on the spot."""

import base64
import hashlib
import io
import json
import tarfile
import threading
import zipfile
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


def wheel(
    name: str,
    version: str = "1.0",
    files: Mapping[str, bytes] | None = None,
    *,
    requires: tuple[str, ...] = (),
    scripts: Mapping[str, str] | None = None,
    tag: str = "py3-none-any",
) -> tuple[str, bytes]:
    """Return the file name and bytes of a wheel with these files."""
    info = f"{name}-{version}.dist-info"
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    metadata += "".join(f"Requires-Dist: {each}\n" for each in requires)
    entries = "".join(f"{command} = {entry}\n" for command, entry in (scripts or {}).items())
    content = {
        **(files or {f"{name}.py": b"VALUE = 1\n"}),
        f"{info}/METADATA": metadata.encode(),
        f"{info}/WHEEL": f"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: {tag}\n".encode(),
    }
    if entries:
        content[f"{info}/entry_points.txt"] = f"[console_scripts]\n{entries}".encode()
    content[f"{info}/RECORD"] = b"".join(f"{each},,\n".encode() for each in content)
    return f"{name}-{version}-{tag}.whl", zipped(content)


def zipped(content: Mapping[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, body in content.items():
            archive.writestr(zipfile.ZipInfo(name, (2020, 1, 1, 0, 0, 0)), body)
    return buffer.getvalue()


def source_archive(name: str, setup: str, version: str = "1.0") -> tuple[str, bytes]:
    """Return a source distribution whose setup.py is this code."""
    return f"{name}-{version}.tar.gz", tarball(
        {
            f"{name}-{version}/setup.py": setup.encode(),
            f"{name}-{version}/PKG-INFO": (
                f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n".encode()
            ),
        }
    )


def tarball(files: Mapping[str, bytes], *, more: tuple[tarfile.TarInfo, ...] = ()) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, body in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(body)
            archive.addfile(member, io.BytesIO(body))
        for member in more:
            archive.addfile(member)
    return buffer.getvalue()


def npm_package(name: str, files: Mapping[str, bytes], version: str = "1.0.0") -> bytes:
    """Return an npm tarball; a package.json is added."""
    about = json.dumps({"name": name, "version": version}).encode()
    content = {"package.json": about, **files}
    return tarball({f"package/{path}": body for path, body in content.items()})


def integrity(content: bytes) -> str:
    return f"sha512-{base64.b64encode(hashlib.sha512(content).digest()).decode()}"


@dataclass
class Index:
    """What a server on the loopback interface answers."""

    address: str
    files: dict[str, bytes] = field(default_factory=dict)
    """Path → body."""
    asked: list[str] = field(default_factory=list)
    authorizations: list[str] = field(default_factory=list)

    def add(self, *packages: tuple[str, bytes], project: str = "") -> None:
        """Publish files of one project on the package index."""
        name = project or packages[0][0].partition("-")[0]
        page = self.files.get(f"/simple/{name.replace('_', '-')}/", b"")
        for file, body in packages:
            digest = hashlib.sha256(body).hexdigest()
            self.files[f"/files/{file}"] = body
            page += f'<a href="{self.address}/files/{file}#sha256={digest}">{file}</a>\n'.encode()
        self.files[f"/simple/{name.replace('_', '-')}/"] = page

    def pip_environment(self) -> dict[str, str]:
        """What makes pip use this index and nothing else."""
        return {"PIP_INDEX_URL": f"{self.address}/simple/", "PIP_CONFIG_FILE": "/dev/null"}


@contextmanager
def served() -> Generator[Index]:
    """Serve an index over real HTTP until the end of the block."""
    index = Index(address="")

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            index.asked.append(self.path)
            index.authorizations.append(self.headers.get("Authorization", ""))
            body = index.files.get(self.path)
            self.send_response(200 if body is not None else 404)
            kind = "text/html" if self.path.startswith("/simple/") else "application/octet-stream"
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body or b"")))
            self.end_headers()
            self.wfile.write(body or b"")

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - as in the base
            del format, args

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    index.address = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield index
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def write(directory: Path, package: tuple[str, bytes]) -> Path:
    path = directory / package[0]
    path.write_bytes(package[1])
    return path
