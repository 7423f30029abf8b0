"""The signed head: what the log had come to, kept outside the database.

A chain alone does not show that its end was cut off. The head names the last durable record and is
signed with the log's own Ed25519 key, so that a database that lost records no longer fits it.
Source: RFC 8032 (Ed25519).
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)

from luminaguard.audit.files import write_private
from luminaguard.domain.calls import JsonValue, canonical_json
from luminaguard.errors import AuditTampered

HEAD_CONTEXT = b"luminaguard audit head 1\n"
GROUP_CONTEXT = b"luminaguard audit group 1\n"
ROOT_CONTEXT = b"luminaguard audit root 1\n"
"""What is signed begins with its purpose, so that one signature cannot pass for the other."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """Where the log ends."""

    log_id: str
    seq: int
    hash: str
    time: str

    def as_json(self) -> dict[str, JsonValue]:
        """Return all fields."""
        return {"log_id": self.log_id, "seq": self.seq, "hash": self.hash, "time": self.time}


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedHead:
    """A head and the signature over it."""

    head: Head
    signature: str
    """Hexadecimal, over HEAD_CONTEXT and the head's canonical JSON."""

    def as_json(self) -> dict[str, JsonValue]:
        """Return the form of `head.json`."""
        return {"head": self.head.as_json(), "signature": self.signature}


class Verifier:
    """Checks what a log's key has signed."""

    def __init__(self, key: Ed25519PublicKey) -> None:
        self._key = key

    @property
    def public_key(self) -> str:
        """The public key's 32 bytes, hexadecimal."""
        return self._key.public_bytes(Encoding.Raw, PublicFormat.Raw).hex()

    def is_head(self, signed: SignedHead) -> bool:
        """Say whether this key signed the head."""
        return self._is_signed(
            HEAD_CONTEXT + canonical_json(signed.head.as_json()), signed.signature
        )

    def is_root(self, signed: SignedHead) -> bool:
        """Say whether this key signed up to where records were taken out of the log."""
        return self._is_signed(
            ROOT_CONTEXT + canonical_json(signed.head.as_json()), signed.signature
        )

    def is_group_end(self, seq: int, hash_: str, signature: str) -> bool:
        """Say whether this key signed a record as the last of a group that was appended at once."""
        return self._is_signed(_group_bytes(seq, hash_), signature)

    def _is_signed(self, content: bytes, signature: str) -> bool:
        try:
            self._key.verify(bytes.fromhex(signature), content)
        except (InvalidSignature, ValueError):
            return False
        return True


class Signer(Verifier):
    """Holds a log's private key; each log has its own."""

    def __init__(self, key: Ed25519PrivateKey) -> None:
        super().__init__(key.public_key())
        self._private = key

    def sign_head(self, head: Head) -> SignedHead:
        """Sign where the log ends."""
        signature = self._private.sign(HEAD_CONTEXT + canonical_json(head.as_json()))
        return SignedHead(head=head, signature=signature.hex())

    def sign_root(self, root: Head) -> SignedHead:
        """Sign the last record that was taken out of the log."""
        signature = self._private.sign(ROOT_CONTEXT + canonical_json(root.as_json()))
        return SignedHead(head=root, signature=signature.hex())

    def sign_group_end(self, seq: int, hash_: str) -> str:
        """Sign a group's last record, hexadecimal."""
        return self._private.sign(_group_bytes(seq, hash_)).hex()


def _group_bytes(seq: int, hash_: str) -> bytes:
    return GROUP_CONTEXT + canonical_json({"seq": seq, "hash": hash_})


def create_key(private: Path, public: Path) -> Signer:
    """Make a new key, and write both halves as PEM (the private one 0600)."""
    key = Ed25519PrivateKey.generate()
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    write_private(private, pem)
    write_private(
        public, key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    )
    return Signer(key)


def load_signer(private: Path) -> Signer:
    """Load the private key.

    Raises:
        AuditTampered: it is missing, or is not an Ed25519 key.
    """
    try:
        key = load_pem_private_key(private.read_bytes(), password=None)
    except (OSError, ValueError, TypeError) as error:
        raise AuditTampered(f"the audit log's key cannot be read: {error}") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise AuditTampered("the audit log's key is not an Ed25519 key")
    return Signer(key)


def load_public_key(public: Path) -> str:
    """Return the public key file's key, hexadecimal.

    Raises:
        AuditTampered: it is missing, or is not an Ed25519 key.
    """
    try:
        key = load_pem_public_key(public.read_bytes())
    except (OSError, ValueError) as error:
        raise AuditTampered(f"the audit log's public key cannot be read: {error}") from error
    if not isinstance(key, Ed25519PublicKey):
        raise AuditTampered("the audit log's public key is not an Ed25519 key")
    return Verifier(key).public_key


def parse_head(content: bytes) -> SignedHead:
    """Read the content of `head.json`. The signature is not checked here.

    Raises:
        AuditTampered: it is not a signed head.
    """
    try:
        whole = cast("dict[str, object]", json.loads(content))
        fields = cast("dict[str, object]", whole["head"])
        log_id, seq, hash_, time = (fields[name] for name in ("log_id", "seq", "hash", "time"))
        signature = whole["signature"]
    except (ValueError, KeyError, TypeError) as error:
        raise AuditTampered("the audit log's head cannot be read") from error
    texts = (log_id, hash_, time, signature)
    if not isinstance(seq, int) or not all(isinstance(text, str) for text in texts):
        raise AuditTampered("the audit log's head cannot be read")
    head = Head(log_id=str(log_id), seq=seq, hash=str(hash_), time=str(time))
    return SignedHead(head=head, signature=str(signature))


def read_root(path: Path) -> SignedHead | None:
    """Return up to where records were taken out of a log; None when none ever were.

    The signature is not checked here.

    Raises:
        AuditTampered: the file is no signed root.
        OSError: it cannot be read.
    """
    try:
        return parse_head(path.read_bytes())
    except FileNotFoundError:
        return None
