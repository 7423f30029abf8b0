"""Writes the story of each call to the audit log, before its effects.

What announces no effect (a reply that proposes calls, a measurement) is written together with the
record that follows it at once, which costs one wait for the medium instead of two.

Bodies hold digests and what was shown, never file bytes; the log redacts them by structure. If a
record cannot be written, the error goes up and the step that it belongs to does not happen.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from anyio import to_thread

from luminaguard.approval.card import DiffCard
from luminaguard.audit.log import AuditLog
from luminaguard.audit.records import Entry, RecordKind
from luminaguard.domain.approval import ApprovalRequest, Decision
from luminaguard.domain.calls import JsonValue, ToolCall
from luminaguard.domain.outcome import AuditRef, Outcome, vm_json
from luminaguard.domain.verdict import Verdict
from luminaguard.llm.model import Reply
from luminaguard.pipeline.rehearsal import Rehearsal
from luminaguard.policy.grants.grant import Grant
from luminaguard.policy.policy import Policy


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorder:
    """The audit log as one session sees it."""

    log: AuditLog
    session_id: str
    _held: list[Entry] = field(default_factory=list[Entry])
    """Goes with the next record."""

    async def session_started(self, *, workspace: str, approver: str, policy: Policy) -> None:
        """Record whose calls follow, on which tree, under which rules, and who will decide."""
        body: dict[str, JsonValue] = {
            "workspace": workspace,
            "approver": approver,
            "policy_version": policy.version,
            "rules": [file.as_json() for file in policy.rulebook.files],
        }
        await self._append(RecordKind.SESSION_STARTED, None, body)

    async def session_ended(self) -> None:
        """Record that no further calls of this session follow."""
        await self._append(RecordKind.SESSION_ENDED, None, {})

    async def proposed(self, call: ToolCall, verdict: Verdict, policy_version: str) -> AuditRef:
        """Record the call and its verdict: the intent that some end must follow."""
        return await self._append(
            RecordKind.CALL_PROPOSED,
            call,
            {
                "call": {
                    "tool": call.tool,
                    "arguments": dict(call.arguments),
                    "digest": call.digest,
                },
                "verdict": _verdict(verdict),
                "policy_version": policy_version,
            },
        )

    def measured(self, call: ToolCall, rehearsal: Rehearsal) -> None:
        """Record what the rehearsal did, with the question or the outcome that follows."""
        self._hold(
            RecordKind.CALL_REHEARSED,
            call,
            {
                "tool": call.tool,
                "changeset": dict(rehearsal.changeset.as_json()),
                "vm": rehearsal.isolation.as_json(),
                "exit_code": rehearsal.report.exit_code,
                "ended": rehearsal.report.ended.value,
                "leftover": list(rehearsal.report.leftover),
            },
        )

    async def requested(self, call: ToolCall, card: DiffCard) -> AuditRef:
        """Record the card that is about to be shown."""
        body = {"tool": call.tool, "risk": card.risk.value, "card": card.as_json()}
        return await self._append(RecordKind.APPROVAL_REQUESTED, call, body)

    async def decided(
        self,
        call: ToolCall,
        request: ApprovalRequest,
        decision: Decision,
        granted: Grant | None = None,
        *,
        unseen: DiffCard | None = None,
    ) -> AuditRef:
        """Record a decision, and what is to be remembered with it.

        The request is used up by the same transaction. Where nobody was asked, `unseen` is the card
        that would have been shown: people can read afterwards what passed.

        Raises:
            ApprovalSpent: the request was decided before.
        """
        body: dict[str, JsonValue] = {
            "tool": call.tool,
            "decision": decision.as_json(),
            "request": request.as_json(),
            "request_digest": request.digest,
            "granted": granted.as_json() if granted else None,
        }
        if unseen is not None:
            body["card"] = unseen.as_json()
        await self._write_held()
        return await to_thread.run_sync(
            lambda: self.log.decide(
                request.nonce, body, session_id=self.session_id, call_id=call.call_id
            )
        )

    async def committing(self, call: ToolCall, rehearsal: Rehearsal) -> AuditRef:
        """Record that the commit of a changeset is about to begin."""
        body = {"tool": call.tool, "changeset_digest": rehearsal.changeset.digest}
        return await self._append(RecordKind.COMMIT_STARTED, call, body)

    async def finished_commit(self, call: ToolCall, rehearsal: Rehearsal, end: str) -> AuditRef:
        """Record that it is on the host ("committed"), or which error kept it off entirely."""
        digest = rehearsal.changeset.digest
        body = {"tool": call.tool, "changeset_digest": digest, "commit": end}
        return await self._append(RecordKind.COMMIT_FINISHED, call, body)

    async def ended(self, outcome: Outcome) -> Outcome:
        """Record how a call ended, and return the outcome with the place of its record."""
        ref = await self._append(
            RecordKind.CALL_OUTCOME,
            outcome.call,
            {
                "tool": outcome.call.tool,
                "outcome": outcome.kind.value,
                "decision": outcome.decision.as_json() if outcome.decision else None,
                "changeset_digest": outcome.changeset.digest if outcome.changeset else None,
                "vm": vm_json(outcome),
                "error": outcome.error,
                "error_code": outcome.error_code,
                "verdict": _verdict(outcome.verdict),
            },
        )
        return replace(outcome, audit=ref)

    async def replied(self, model: str, reply: Reply, seconds: float) -> None:
        """Record that a model answered, and what that took; what it said is in the transcript."""
        body: dict[str, JsonValue] = {
            "model": model,
            "answered_by": reply.model,
            "calls": [call.call_id for call in reply.calls],
            "usage": dict(reply.usage.as_json()),
            "seconds": round(seconds, 3),
        }
        self._hold(RecordKind.MODEL_REPLIED, None, body)
        if not reply.calls:
            await self._write_held()

    async def reread(self, call: ToolCall) -> None:
        """Record that a model reads on in a result that it was given."""
        body = {"tool": call.tool, "arguments": dict(call.arguments)}
        await self._append(RecordKind.RESULT_READ, call, body)

    def _hold(self, kind: RecordKind, call: ToolCall | None, body: Mapping[str, JsonValue]) -> None:
        call_id = call.call_id if call else None
        self._held.append(Entry(kind=kind, body=body, session_id=self.session_id, call_id=call_id))

    async def _append(
        self, kind: RecordKind, call: ToolCall | None, body: Mapping[str, JsonValue]
    ) -> AuditRef:
        self._hold(kind, call, body)
        return (await self._write_held())[-1]

    async def _write_held(self) -> tuple[AuditRef, ...]:
        """Write what waits; what cannot be written is not tried again: its step does not happen."""
        entries = tuple(self._held)
        self._held.clear()
        return await to_thread.run_sync(self.log.append_all, entries) if entries else ()


def _verdict(verdict: Verdict) -> dict[str, JsonValue]:
    return {
        "lane": verdict.lane.value,
        "risk": verdict.risk.value,
        "rules": list(verdict.rules),
        "reasons": list(verdict.reasons),
        "allowed_by": verdict.allowed_by,
    }
