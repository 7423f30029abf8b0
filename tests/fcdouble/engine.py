"""What a Firecracker process does with requests: its states, and what it refuses in each.

Source: Firecracker, the description in tests/data, docs/snapshotting/snapshot-support.md,
docs/api_requests/; the wording of refusals that users meet is Firecracker's.
"""

import json
import os
import socket
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fcdouble.description import body_problem, operation
from fcdouble.guest import Programs, WireGuest
from fcdouble.vsockside import VsockSide, at, short

VERSION = "1.16.1"
_ONLY_BEFORE = {"/boot-source", "/machine-config", "/vsock", "/entropy", "/serial", "/logger"}
_ONLY_BEFORE |= {"/metrics", "/snapshot/load"}
_ONLY_AFTER = {"/snapshot/create", "/vm"}
_AFTER_START = "The requested operation is not supported after starting the microVM."
_BEFORE_START = "The requested operation is not supported before starting the microVM."
_MAGIC = {"squashfs": (0, b"hsqs"), "erofs": (1024, b"\xe2\xe1\xf5\xe0")}
_EXT4_MAGIC = (1080, b"\x53\xef")


class Refused(Exception):
    """A 400 with this reason."""


@dataclass
class Engine:
    """One Firecracker; `handle` answers a request with a status and a body.

    `root` is what it sees as `/`. `breaks` maps (method, path) to what happens instead of an
    answer: "die", "hang", "nonsense", "error".
    """

    root: Path
    id: str
    programs: Programs = field(default_factory=dict)
    version: str = VERSION
    breaks: dict[tuple[str, str], str] = field(default_factory=dict)
    state: str = "Not started"
    config: dict[str, Any] = field(default_factory=dict)
    drives: dict[str, dict[str, Any]] = field(default_factory=dict)
    heard: list[tuple[str, str]] = field(default_factory=list)
    guest: WireGuest | None = None
    doomed: bool = False
    """It will end once this request is answered, as Firecracker does after a failed load."""

    def __post_init__(self) -> None:
        self._turn = threading.Lock()
        self._vsock: VsockSide | None = None
        self.uffd: socket.socket | None = None
        self._faults: list[int] = []

    def handle(self, method: str, path: str, content: bytes) -> tuple[int, object]:
        with self._turn:
            self.heard.append((method, path))
            try:
                return self._handle(method, path, content)
            except Refused as refused:
                return 400, {"fault_message": str(refused)}

    def close(self) -> None:
        if self._vsock is not None:
            self._vsock.close()
        if self.uffd is not None:
            self.uffd.close()
        for fd in self._faults:
            os.close(fd)
        self._faults.clear()

    def _handle(self, method: str, path: str, content: bytes) -> tuple[int, object]:
        known = operation(method, path)
        if known is None:
            raise Refused(f"Invalid request method and/or path: {method} {path}.")
        said, parameters = known
        body = _parsed(content)
        partial = (method, path) == ("PATCH", "/machine-config")
        problem = body_problem(said, body, partial=partial)
        if problem is not None:
            raise Refused(f"An error occurred when deserializing the json body: {problem}.")
        if parameters.get("drive_id", "") != (body or {}).get("drive_id", ""):
            raise Refused("The id from the path does not match the id from the body!")
        if method == "GET":
            return 200, self._tell(path)
        self._check_order(method, path, body)
        self._act(method, path, body)
        return 204, None

    def _tell(self, path: str) -> object:
        match path:
            case "/":
                return {
                    "app_name": "Firecracker",
                    "id": self.id,
                    "state": self.state,
                    "vmm_version": self.version,
                }
            case "/version":
                return {"firecracker_version": self.version}
            case "/machine-config":
                return {
                    "vcpu_count": 1,
                    "mem_size_mib": 128,
                    **self.config.get("machine-config", {}),
                }
            case _:
                return {**self.config, "drives": list(self.drives.values())}

    def _check_order(self, method: str, path: str, body: Any) -> None:
        started = self.state != "Not started"
        action = body["action_type"] if path == "/actions" else None
        drive = path.startswith("/drives/")
        before = path in _ONLY_BEFORE or (drive and method == "PUT") or action == "InstanceStart"
        after = path in _ONLY_AFTER or (drive and method == "PATCH") or action == "FlushMetrics"
        if before and started:
            raise Refused(_AFTER_START)
        if after and not started:
            raise Refused(_BEFORE_START)

    def _act(self, method: str, path: str, body: Any) -> None:
        match method, path:
            case "PUT", "/actions":
                self._action(body["action_type"])
            case "PATCH", "/vm":
                self._set_state(body["state"])
            case "PUT", "/snapshot/create":
                self._save(body)
            case "PUT", "/snapshot/load":
                self._load(body)
            case _, _ if path.startswith("/drives/"):
                self._set_drive(method, body)
            case _:
                self._configure(method, path.lstrip("/"), body)

    def _configure(self, method: str, name: str, body: Any) -> None:
        if name == "boot-source":
            for key in ("kernel_image_path", "initrd_path"):
                if body.get(key) is not None:
                    self._open(body[key], "The kernel file cannot be opened")
        if name == "vsock":
            self._listen(body["uds_path"])
        if name == "metrics" and "metrics" in self.config:
            raise Refused("Cannot initialize metrics: reinitialization of metrics is not allowed.")
        if name in {"metrics", "logger"}:
            self._write(body.get("metrics_path") or body.get("log_path"), b"")
        merged = {**self.config.get(name, {}), **body} if method == "PATCH" else dict(body)
        self.config[name] = merged

    def _set_drive(self, method: str, body: Any) -> None:
        drive_id = body["drive_id"]
        if method == "PATCH":
            if drive_id not in self.drives:
                raise Refused(f"Invalid device ID: {drive_id}")
            body = {**self.drives[drive_id], **body}
        if "path_on_host" not in body or "is_read_only" not in body:
            raise Refused("Invalid block device configuration: a path and is_read_only are needed")
        writable = not body["is_read_only"]
        self._open(body["path_on_host"], "Unable to open the block device", writable=writable)
        self.drives[drive_id] = dict(body)

    def _action(self, action: str) -> None:
        if action == "FlushMetrics":
            if "metrics" not in self.config:
                raise Refused("Metrics system is not configured.")
            line = {"utc_timestamp_ms": 1, "vmm": {"panic_count": 0}}
            self._write(self.config["metrics"]["metrics_path"], json.dumps(line).encode() + b"\n")
        elif action == "InstanceStart":
            self._start()

    def _start(self) -> None:
        source = self.config.get("boot-source")
        if source is None:
            raise Refused("Cannot start microvm without kernel configuration.")
        with at(self.root, source["kernel_image_path"]).open("rb") as kernel:
            if kernel.read(4) != b"\x7fELF":
                raise Refused("Cannot load kernel due to invalid memory configuration or image.")
        self._run()
        self.state = "Running"

    def _set_state(self, wanted: str) -> None:
        self.state = "Running" if wanted == "Resumed" else "Paused"
        if self._vsock is not None:
            self._vsock.run(running=wanted == "Resumed")

    def _save(self, body: Any) -> None:
        if self.state != "Paused":
            raise Refused("Create snapshot error: the microVM must be paused.")
        memory = self.config.get("machine-config", {}).get("mem_size_mib", 128) * 1024 * 1024
        saved = {
            "version": self.version,
            "config": {k: self.config[k] for k in ("machine-config", "vsock") if k in self.config},
            "drives": self.drives,
            "memory": memory,
        }
        self._write(body["snapshot_path"], json.dumps(saved).encode(), create=True)
        self._write(body["mem_file_path"], b"the guest's memory", create=True)
        os.truncate(at(self.root, body["mem_file_path"]), memory)

    def _load(self, body: Any) -> None:
        if self.drives or set(self.config) - {"logger", "metrics"}:
            raise Refused(
                "Loading a microVM snapshot not allowed after configuring boot-specific resources."
            )
        backend = body.get("mem_backend")
        if (backend is None) == ("mem_file_path" not in body):
            raise Refused("Exactly one of mem_backend and mem_file_path must be given.")
        try:
            self._load_saved(body, backend or {"backend_type": "File", **body})
        except Refused as refused:
            self.doomed = True
            raise Refused(f"Load snapshot error: {refused}") from refused

    def _load_saved(self, body: Any, backend: Any) -> None:
        try:
            saved = json.loads(self._open(body["snapshot_path"], "Cannot open the snapshot file"))
        except ValueError:
            raise Refused("Failed to deserialize the microVM state") from None
        if saved["version"].split(".")[:2] != self.version.split(".")[:2]:
            raise Refused(f"the snapshot is of version {saved['version']}")
        if backend["backend_type"] == "File":
            path = backend.get("backend_path") or backend["mem_file_path"]
            self._open(path, "Cannot open the memory file")
            if at(self.root, path).stat().st_size != saved["memory"]:
                raise Refused("the memory file has not the size of the guest's memory")
        else:
            self._ask_for_pages(backend["backend_path"], saved["memory"])
        for drive in saved["drives"].values():
            self._set_drive("PUT", drive)
        self._listen(saved["config"]["vsock"]["uds_path"])
        self.config |= saved["config"]
        self._run()
        self.state = "Paused"
        self._set_state("Resumed" if body.get("resume_vm") else "Paused")

    def _ask_for_pages(self, path: str, memory: int) -> None:
        read_end, write_end = os.pipe()
        mapping = {"base_host_virt_addr": 0x7F0000000000, "size": memory, "offset": 0}
        try:
            self.uffd = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            with short(at(self.root, path)) as place:
                self.uffd.connect(place)
            said = json.dumps([{**mapping, "page_size": 4096, "page_size_kib": 4096}]).encode()
            socket.send_fds(self.uffd, [said], [read_end])
        except OSError as problem:
            raise Refused(f"UFFD: {problem}") from problem
        finally:
            os.close(read_end)
            self._faults.append(write_end)  # a pipe stands for the descriptor: nothing ever faults

    def _run(self) -> None:
        self.guest = WireGuest(self.programs, self._disk_problem)
        if self._vsock is not None:
            self._vsock.start(self.guest)

    def _listen(self, path: str) -> None:
        try:
            self._vsock = VsockSide(at(self.root, path))
        except OSError as problem:
            raise Refused(f"Cannot create the vsock device: {problem.strerror}") from problem

    def _disk_problem(self, filesystem: str) -> str | None:
        if self._magic("workspace", *_MAGIC[filesystem]) and self._magic("scratch", *_EXT4_MAGIC):
            return None
        return "a disk is still empty"

    def _magic(self, drive_id: str, offset: int, wanted: bytes) -> bool:
        with at(self.root, self.drives[drive_id]["path_on_host"]).open("rb") as disk:
            disk.seek(offset)
            return disk.read(len(wanted)) == wanted

    def _open(self, path: str, otherwise: str, *, writable: bool = False) -> bytes:
        try:
            with at(self.root, path).open("r+b" if writable else "rb") as file:
                return file.read(1 << 20)
        except OSError as problem:
            raise Refused(f"{otherwise}: {problem.strerror}") from problem

    def _write(self, path: str, content: bytes, *, create: bool = False) -> None:
        """Write as Firecracker does: a pipe without ever waiting."""
        flags = os.O_RDWR | os.O_NONBLOCK | (os.O_CREAT if create else 0)
        try:
            fd = os.open(at(self.root, path), flags, 0o600)
            os.write(fd, content)
            os.close(fd)
        except OSError as problem:
            raise Refused(f"Cannot open {path}: {problem.strerror}") from problem


def _parsed(content: bytes) -> Any:
    if not content:
        return None
    try:
        return json.loads(content)
    except ValueError:
        raise Refused("An error occurred when deserializing the json body.") from None
