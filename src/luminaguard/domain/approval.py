"""The question to a human, and the answer."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from hashlib import sha256

from luminaguard.domain.calls import JsonValue, canonical_json


class End(StrEnum):
    """The four ends of a request; only the first is a yes."""

    APPROVED = "approved"
    REJECTED = "rejected"
    EXPIRED = "expired"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class ApprovalRequest:
    """Everything that a yes is bound to. A change in any field makes another request."""

    nonce: str
    session_id: str
    workspace: str
    """Identity of the workspace: device and inode of its root, and its path."""
    call_digest: str
    changeset_digest: str
    base: str
    policy_version: str
    requested_at: datetime
    expires_at: datetime
    tool_definition: str | None = None
    """Hash of the MCP tool's definition; None for built-in tools."""
    server: str | None = None
    """Identity of the MCP server; None for built-in tools."""

    def as_json(self) -> dict[str, JsonValue]:
        """Return all bound fields."""
        return {
            "nonce": self.nonce,
            "session_id": self.session_id,
            "workspace": self.workspace,
            "call_digest": self.call_digest,
            "changeset_digest": self.changeset_digest,
            "base": self.base,
            "policy_version": self.policy_version,
            "requested_at": self.requested_at.isoformat(),
            "expires_at": self.expires_at.isoformat(),
            "tool_definition": self.tool_definition,
            "server": self.server,
        }

    @property
    def digest(self) -> str:
        """SHA-256 over all bound fields, hexadecimal."""
        return sha256(canonical_json(self.as_json())).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """How a request ended, who ended it, and how they proved who they are."""

    end: End
    request_digest: str
    approver: str
    """Named as such in the record: "tty", "deny", "all", ..."""
    reason: str
    at: datetime
    proof: str = ""
    """How the approver proved themselves: "controlling terminal of uid 1000", ..."""
    grant: str = ""
    """The card's grant offer that was taken with the yes, by its id; empty: just this once."""
    offered: tuple[str, ...] = ()
    """All approvers that were asked, in order, where the first one was not the only one."""

    def as_json(self) -> dict[str, JsonValue]:
        """Return the public JSON form."""
        return {
            "end": self.end.value,
            "approver": self.approver,
            "reason": self.reason,
            "at": self.at.isoformat(),
            "proof": self.proof,
            "grant": self.grant,
            "offered": list(self.offered),
        }
