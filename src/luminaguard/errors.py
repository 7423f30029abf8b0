"""Everything that can fail, in one tree.

A guest's non-zero exit, a human "no" and a forbidden call are values, not errors: errors are for
what could not be done. Each class carries a stable `code`, says whether trying again is safe, and
may carry a `hint`: the command or change that mends it.

    LuminaGuardError
    ├ ConfigError
    ├ ImageError
    ├ VmError
    │  ├ HypervisorUnavailable   names the missing piece
    │  ├ VmStateError            the call is not allowed in the machine's state
    │  ├ BootTimeout
    │  ├ TemplateError           missing, stale or unverifiable: never restored
    │  ├ PoolFull                no machine came free in time
    │  └ GuestError
    │     ├ GuestLost            the machine or its agent went away
    │     └ WireError            the guest broke the protocol
    ├ Interrupted                the user ended it
    ├ ToolError                  unknown tool, or arguments that do not fit it
    ├ PolicyError
    ├ ApprovalError              nobody could be asked
    ├ WorkspaceError
    │  ├ WorkspaceRefused        this tree may not be a workspace
    │  ├ WorkspaceTooLarge
    │  ├ ChangesetConflict       the host moved meanwhile
    │  ├ Unrepresentable         cannot be shown faithfully, so is not committed
    │  ├ HostileStream           the guest's changeset breaks the rules
    │  └ RecoveryNeeded          an earlier commit ended in a state only the user can judge
    ├ AuditError
    │  ├ AuditWriteFailed
    │  │  └ ApprovalSpent        a request is decided once
    │  └ AuditTampered
    ├ McpError                   an MCP server could not be used
    │  ├ McpUnreachable          no connection: the request was not sent
    │  │  └ McpSessionLost       the server forgot the session, and took no request in it
    │  ├ McpAuthError            no token, or one that the server refuses
    │  ├ McpRefused              the server answered with an error
    │  ├ McpUnavailable          the server, or all its endpoints, cannot answer for now
    │  ├ McpTimedOut
    │  ├ McpConnectionLost       it broke off before the answer was complete
    │  ├ McpAnswerBroken         too large, too deep, not the protocol, or to another question
    │  ├ McpToolsChanged         its tools are not those that were pinned
    │  └ OutcomeUnknown          it was sent, and nobody can say what it did
    └ ModelError                 the model could not be used
       ├ ModelAuthError          no key, or one that the provider refuses
       ├ ModelNotFound           the provider has no such model
       ├ ModelQuotaSpent         the account has nothing left: waiting does not help
       ├ ModelRateLimited        too many requests for now
       ├ ModelOverloaded         the provider cannot answer for now
       ├ ModelUnreachable        no connection, or one that broke off
       ├ ModelTimedOut
       ├ ContextTooLong          the conversation no longer fits
       ├ ModelRefused            the provider's filter answered instead of the model
       └ ModelAnswerBroken       the answer cannot be read
"""

from enum import StrEnum
from typing import ClassVar


class Retry(StrEnum):
    """Whether doing the same again can be right."""

    NEVER = "never"
    SAFE = "safe"
    UNKNOWN = "unknown"


class LuminaGuardError(Exception):
    """Root of all errors raised on purpose."""

    code: ClassVar[str] = "luminaguard"
    retry: ClassVar[Retry] = Retry.NEVER

    def __init__(self, message: str, *, hint: str | None = None, **context: object) -> None:
        """Keep the message, an optional mending hint, and the facts of the situation."""
        super().__init__(message)
        self.hint = hint
        self.context = context


class ConfigError(LuminaGuardError):
    """A setting, flag or configuration file is wrong."""

    code = "config"


class ImageError(LuminaGuardError):
    """A guest image is missing, damaged or cannot be built."""

    code = "image"


class VmError(LuminaGuardError):
    """Something about a micro-VM failed."""

    code = "vm"


class HypervisorUnavailable(VmError):
    """This host cannot run the backend; the message names the missing piece."""

    code = "hypervisor-unavailable"


class VmStateError(VmError):
    """The call is not allowed in the machine's present state."""

    code = "vm-state"


class BootTimeout(VmError):
    """The guest gave no first answer in time."""

    code = "boot-timeout"
    retry = Retry.SAFE


class TemplateError(VmError):
    """A template is missing, stale or does not match its manifest."""

    code = "template"


class PoolFull(VmError):
    """No machine came free in time, or too many already wait for one; nothing was run."""

    code = "pool-full"
    retry = Retry.SAFE


class GuestError(VmError):
    """The guest did not do what it was asked."""

    code = "guest"


class GuestLost(GuestError):
    """The machine or its agent went away; what it was doing is unknown."""

    code = "guest-lost"
    retry = Retry.UNKNOWN


class WireError(GuestError):
    """The guest broke the protocol; its machine is not to be trusted further."""

    code = "wire"


class Interrupted(LuminaGuardError):
    """The user ended the call while it was in progress; nothing of it was done."""

    code = "interrupted"


class ToolError(LuminaGuardError):
    """Unknown tool, or arguments that do not fit it."""

    code = "tool"


class PolicyError(LuminaGuardError):
    """The policy cannot be loaded; nothing runs without one."""

    code = "policy"


class ApprovalError(LuminaGuardError):
    """Nobody could be asked."""

    code = "approval"


class WorkspaceError(LuminaGuardError):
    """Something about the workspace failed."""

    code = "workspace"


class WorkspaceRefused(WorkspaceError):
    """This tree may not be a workspace."""

    code = "workspace-refused"


class WorkspaceTooLarge(WorkspaceError):
    """The tree, or a changeset, exceeds its cap."""

    code = "workspace-too-large"


class ChangesetConflict(WorkspaceError):
    """The host's files moved since they were imaged; nothing was overwritten."""

    code = "conflict"


class Unrepresentable(WorkspaceError):
    """A change cannot be shown and committed faithfully, so it is not committed."""

    code = "unrepresentable"


class HostileStream(WorkspaceError):
    """What the guest sent as its changeset breaks the rules of a changeset."""

    code = "hostile-stream"


class RecoveryNeeded(WorkspaceError):
    """An earlier commit ended in a state that only the user can judge."""

    code = "recovery-needed"


class AuditError(LuminaGuardError):
    """Something about the audit log failed."""

    code = "audit"


class AuditWriteFailed(AuditError):
    """The record could not be made durable, so its effect must not happen."""

    code = "audit-write"


class ApprovalSpent(AuditWriteFailed):
    """The approval request has already ended; a decision counts once."""

    code = "approval-spent"


class AuditTampered(AuditError):
    """The audit log is not what was written."""

    code = "audit-tampered"


class McpError(LuminaGuardError):
    """An MCP server could not be used."""

    code = "mcp"


class McpUnreachable(McpError):
    """No connection to the server: the request was provably not sent."""

    code = "mcp-unreachable"
    retry = Retry.SAFE


class McpSessionLost(McpUnreachable):
    """The server no longer knows the session, and took no request in it."""

    code = "mcp-session-lost"


class McpAuthError(McpError):
    """No token, or one that the server refuses."""

    code = "mcp-auth"


class McpRefused(McpError):
    """The server answered, with an error."""

    code = "mcp-refused"


class McpUnavailable(McpError):
    """The server, or every endpoint of it, cannot answer for now."""

    code = "mcp-unavailable"
    retry = Retry.UNKNOWN


class McpTimedOut(McpError):
    """No answer in time; what was sent may still take effect."""

    code = "mcp-timeout"
    retry = Retry.UNKNOWN


class McpConnectionLost(McpError):
    """The connection broke off before the answer was complete."""

    code = "mcp-connection-lost"
    retry = Retry.UNKNOWN


class McpAnswerBroken(McpError):
    """The answer is too large, too deep, not the protocol, or to another question."""

    code = "mcp-answer-broken"
    retry = Retry.UNKNOWN


class McpToolsChanged(McpError):
    """The server's tools are not those that were pinned; nothing of it is used."""

    code = "mcp-tools-changed"


class OutcomeUnknown(McpError):
    """The call was sent, and nobody can say what it did: look before calling again."""

    code = "outcome-unknown"
    retry = Retry.UNKNOWN


class ModelError(LuminaGuardError):
    """The model could not be used."""

    code = "model"


class ModelAuthError(ModelError):
    """No key, or one that the provider refuses."""

    code = "model-auth"


class ModelNotFound(ModelError):
    """The provider has no such model."""

    code = "model-not-found"


class ModelQuotaSpent(ModelError):
    """The account has nothing left: waiting does not help."""

    code = "model-quota"


class ModelRateLimited(ModelError):
    """Too many requests for now."""

    code = "model-rate-limited"
    retry = Retry.SAFE


class ModelOverloaded(ModelError):
    """The provider cannot answer for now."""

    code = "model-overloaded"
    retry = Retry.SAFE


class ModelUnreachable(ModelError):
    """No connection to the provider, or one that broke off."""

    code = "model-unreachable"
    retry = Retry.SAFE


class ModelTimedOut(ModelError):
    """No answer in time."""

    code = "model-timeout"
    retry = Retry.SAFE


class ContextTooLong(ModelError):
    """The conversation no longer fits the model."""

    code = "context-too-long"


class ModelRefused(ModelError):
    """The provider's filter answered instead of the model."""

    code = "model-refused"


class ModelAnswerBroken(ModelError):
    """The answer cannot be read."""

    code = "model-answer-broken"
    retry = Retry.SAFE
