"""The approver's secret: how somebody in another process shows that they are the user.

Processes of one user cannot be told apart, so a yes from another process is signed with a key that
comes out of a secret in the user's head. On disk are only a salt and the public half: reading them
lets nobody approve. What is signed names the request, the answer and a challenge, so a signature is
good for one answer to one request, whoever sees it.
"""

import json
import os
import secrets
import stat
from dataclasses import dataclass
from datetime import datetime
from hashlib import scrypt, sha256
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import (
    Ed25519PrivateKey,
    Ed25519PublicKey,
)
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from luminaguard.approval.codec.fields import Fields, Malformed, parsed
from luminaguard.approval.desk.desk import Answer
from luminaguard.approval.desk.refusals import NotProven
from luminaguard.domain.calls import canonical_json
from luminaguard.errors import ApprovalError
from luminaguard.vm.linux import NO_FOLLOW, user_id

FILE_NAME = "approver.json"
SHORTEST_SECRET = 8
"""Characters. Whoever can read the file can try secrets at leisure: length is what stops them."""
LONGEST_SECRET = 1_000

_CONTEXT = b"luminaguard approval 1\n"
_COST = 1 << 15
"""scrypt's N: 32 MiB and about a tenth of a second for each try. Source: RFC 7914, section 2."""
_LARGEST_COST = 1 << 20
_BLOCK = 8
_LONGEST_FILE = 4_096


@dataclass(frozen=True, slots=True, kw_only=True)
class Enrollment:
    """The public half of an approver's secret, as it is kept in a file."""

    salt: bytes
    cost: int
    public_key: bytes
    """Ed25519, 32 bytes."""
    enrolled_at: datetime

    @property
    def fingerprint(self) -> str:
        """Name of the key in records: the first 16 digits of its SHA-256."""
        return sha256(self.public_key).hexdigest()[:16]

    def is_signed(self, content: bytes, signature: bytes) -> bool:
        """Say whether whoever knows the secret signed this."""
        try:
            Ed25519PublicKey.from_public_bytes(self.public_key).verify(signature, content)
        except (InvalidSignature, ValueError):
            return False
        return True


class Prover:
    """Signs answers; made by `unlock` from the secret, which is not kept."""

    def __init__(self, key: Ed25519PrivateKey) -> None:
        self._key = key

    def sign(self, content: bytes) -> bytes:
        """Return the signature of these bytes."""
        return self._key.sign(content)


def statement(request_digest: str, answer: Answer, challenge: str) -> bytes:
    """Return what is signed for one answer to one request."""
    fields = {
        "request": request_digest,
        "end": answer.end.value,
        "reason": answer.reason,
        "grant": answer.grant,
        "challenge": challenge,
    }
    return _CONTEXT + canonical_json(fields)


def enroll(state_dir: Path, secret: str, *, at: datetime) -> Enrollment:
    """Make a key from a secret and keep its public half; an earlier one is replaced. Blocking.

    Raises:
        ApprovalError: the secret is too short or too long, or the file cannot be written.
    """
    if not SHORTEST_SECRET <= len(secret) <= LONGEST_SECRET:
        raise ApprovalError(
            f"a secret has {SHORTEST_SECRET} to {LONGEST_SECRET:,} characters, this one has "
            f"{len(secret):,}",
            hint="several words are easy to type and hard to guess",
        )
    salt = secrets.token_bytes(16)
    public = _key(secret, salt, _COST).public_key()
    enrollment = Enrollment(
        salt=salt,
        cost=_COST,
        public_key=public.public_bytes(Encoding.Raw, PublicFormat.Raw),
        enrolled_at=at,
    )
    try:
        _write(state_dir / FILE_NAME, enrollment)
    except OSError as error:
        raise ApprovalError(f"the secret cannot be enrolled: {error}") from error
    return enrollment


def enrolled(state_dir: Path) -> Enrollment | None:
    """Return what is enrolled, None when nothing is. Blocking.

    Raises:
        ApprovalError: the file is not one that only this user could have written.
    """
    path = state_dir / FILE_NAME
    try:
        fd = os.open(path, os.O_RDONLY | NO_FOLLOW)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ApprovalError(f"{path} cannot be read: {error}") from error
    with os.fdopen(fd, "rb") as file:
        about = os.fstat(fd)
        if not _is_private(about):
            raise ApprovalError(
                f"{path} could have been written or read by others",
                hint=f"remove it, and enroll again: rm {path} && luminaguard approvals enroll",
            )
        content = file.read(_LONGEST_FILE + 1)
    try:
        return _parsed(content)
    except Malformed as error:
        raise ApprovalError(f"{path} is damaged: {error}", hint="enroll again") from error


def unlock(enrollment: Enrollment, secret: str) -> Prover:
    """Return what signs as the approver. Blocking: takes about a tenth of a second.

    Raises:
        NotProven: it is not the secret that was enrolled.
    """
    key = _key(secret, enrollment.salt, enrollment.cost)
    public = key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    if not secrets.compare_digest(public, enrollment.public_key):
        raise NotProven("that is not the approver secret")
    return Prover(key)


def _key(secret: str, salt: bytes, cost: int) -> Ed25519PrivateKey:
    seed = scrypt(
        secret.encode("utf-8", "surrogatepass"),
        salt=salt,
        n=cost,
        r=_BLOCK,
        p=1,
        maxmem=256 * _BLOCK * cost,
        dklen=32,
    )
    return Ed25519PrivateKey.from_private_bytes(seed)


def _is_private(about: os.stat_result) -> bool:
    mine = about.st_uid == user_id() or user_id() < 0
    return stat.S_ISREG(about.st_mode) and mine and not stat.S_IMODE(about.st_mode) & 0o077


def _write(path: Path, enrollment: Enrollment) -> None:
    content = {
        "version": 1,
        "salt": enrollment.salt.hex(),
        "cost": enrollment.cost,
        "public_key": enrollment.public_key.hex(),
        "enrolled_at": enrollment.enrolled_at.isoformat(),
    }
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    incoming = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    fd = os.open(incoming, os.O_WRONLY | os.O_CREAT | os.O_EXCL | NO_FOLLOW, 0o600)
    try:
        with os.fdopen(fd, "w", encoding="utf-8") as file:
            json.dump(content, file)
            file.flush()
            os.fsync(fd)
        incoming.replace(path)
    except BaseException:
        incoming.unlink(missing_ok=True)
        raise


def _parsed(content: bytes) -> Enrollment:
    fields = Fields(parsed(content, longest_bytes=_LONGEST_FILE))
    if fields.integer("version") != 1:
        raise Malformed("it is of another version")
    cost = fields.integer("cost", low=_COST, high=_LARGEST_COST)
    if cost & (cost - 1):
        raise Malformed("the cost is no power of two")
    return Enrollment(
        salt=_bytes(fields, "salt", 16),
        cost=cost,
        public_key=_bytes(fields, "public_key", 32),
        enrolled_at=fields.moment("enrolled_at"),
    )


def _bytes(fields: Fields, name: str, size: int) -> bytes:
    try:
        content = bytes.fromhex(fields.text(name, longest=2 * size))
    except ValueError as error:
        raise Malformed(f"{name} is not hexadecimal") from error
    if len(content) != size:
        raise Malformed(f"{name} has another length")
    return content
