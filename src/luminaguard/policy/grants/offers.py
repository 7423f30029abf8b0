"""What a human is offered to have remembered, and what a wider offer would also let through.

Made on the host from the approved call and its measured effect; a screen can only name one of
them. Nothing is offered where a standing yes could not be used anyway.
"""

import secrets
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from posixpath import dirname

from luminaguard.domain.calls import JsonValue, ToolCall
from luminaguard.domain.changeset import ChangeKind, Changeset
from luminaguard.domain.grant import GrantOffer, GrantScope
from luminaguard.policy.bounds import Bounds, never_unasked
from luminaguard.policy.context import CallContext
from luminaguard.policy.findings import shown
from luminaguard.policy.grants.bound import run_files
from luminaguard.policy.grants.covers import (
    Question,
    commands_to_cover,
    is_asked_for,
    is_within,
    uncovered,
)
from luminaguard.policy.grants.grant import Grant, Terms, effect_digest
from luminaguard.policy.grants.shape import Shape, Slot, shape_of
from luminaguard.policy.patterns import PathPattern
from luminaguard.policy.rules.facts import Facts, facts_of, patch_paths
from luminaguard.policy.standing import never_stands

LIFETIME = timedelta(hours=8)
"""A working day: long enough for a task, too short to be forgotten."""
MAX_USES = {GrantScope.EXACT: 100, GrantScope.SESSION: 200, GrantScope.PATTERN: 200}
LEAST_CHANGES = 5
"""A grant's limit on changed paths is what was measured, and at least this."""
_EXAMPLES = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """What is shown, and what it would become."""

    shown: GrantOffer
    grant: Grant
    """As it would be kept; `given_by` and `request` are filled in when it is taken."""

    def taken(self, *, given_by: str, request: str, at: datetime) -> Grant:
        """Return the grant that a human's yes makes of it."""
        lifetime = self.grant.expires_at - self.grant.created_at
        return replace(
            self.grant,
            grant_id=f"grant-{secrets.token_hex(6)}",
            given_by=given_by,
            request=request,
            created_at=at,
            expires_at=at + lifetime,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Offering:
    """Makes offers for one session."""

    now: Callable[[], datetime]
    lifetime: timedelta = LIFETIME

    def offers(self, question: Question, recent: Sequence[ToolCall] = ()) -> tuple[Offer, ...]:
        """Return the offers for a call, narrowest first; none where nothing may be remembered.

        `recent` are calls to look for examples in.
        """
        verdict, changeset = question.verdict, question.changeset
        if never_stands(verdict) or never_unasked(changeset) or is_asked_for(verdict):
            return ()
        made = [self._offer(GrantScope.EXACT, _exact(question), question, recent)]
        pattern = _pattern(question)
        if pattern is not None:
            made.append(self._offer(GrantScope.SESSION, pattern, question, recent))
            made.append(self._offer(GrantScope.PATTERN, pattern, question, recent))
        return tuple(offer for offer in made if not uncovered(offer.grant, question))

    def _offer(
        self, scope: GrantScope, terms: Terms, question: Question, recent: Sequence[ToolCall]
    ) -> Offer:
        grant = Grant(
            grant_id=scope.value,
            scope=scope,
            workspace=question.workspace,
            session_id=question.session_id,
            terms=terms,
            covers=f"{_words(terms)}, {_until(scope, self.lifetime)}",
            given_by="",
            request="",
            policy_version=question.policy_version,
            created_at=question.now,
            expires_at=question.now + self.lifetime,
            max_uses=MAX_USES[scope],
        )
        also = () if scope is GrantScope.EXACT else tuple(_also(grant, question, recent))
        shown_offer = GrantOffer(
            offer_id=scope.value, scope=scope, covers=grant.covers, also=also[:_EXAMPLES]
        )
        return Offer(shown=shown_offer, grant=grant)


def _exact(question: Question) -> Terms:
    return Terms(
        tool=question.facts.call.tool,
        call_digest=question.facts.call.digest,
        effect=effect_digest(question.changeset),
        files=_files(question) or {},
    )


def _pattern(question: Question) -> Terms | None:
    """Return terms for calls like this one; None where there is no safe likeness."""
    facts, changeset = question.facts, question.changeset
    if not facts.is_plain or (facts.runs and not facts.commands):
        return None
    files = _files(question)
    if files is None:
        return None
    bounds = Bounds(
        paths=_places(facts, changeset, question),
        kinds=frozenset(change.kind for change in changeset.changes) | _ALONG,
        max_changes=max(LEAST_CHANGES, len(changeset.changes)),
    )
    terms = Terms(tool=facts.call.tool, bounds=bounds, files=files)
    shapes = [
        shape_of(said.words, lambda word, at=said.context: _varies(word, at, terms, question))
        for said in commands_to_cover(facts)
    ]
    return replace(terms, shapes=tuple(dict.fromkeys(shapes)))


_ALONG = frozenset({ChangeKind.MKDIR})
"""Making a directory comes along with making a file in it."""


def _files(question: Question) -> dict[str, str] | None:
    found: dict[str, str] = {}
    for said in commands_to_cover(question.facts):
        run = run_files(said.words, said.context, question.digest_of)
        if run is None:
            return None
        found |= run
    return found


def _places(facts: Facts, changeset: Changeset, question: Question) -> tuple[PathPattern, ...]:
    """Return where changes may lie: the directories of the measured ones, or a file at the root.

    Where nothing changed, the files that the call names.
    """
    changed = [change.path for change in changeset.changes]
    named = [path for path in facts.paths if question.digest_of(path) is not None]
    found = {f"{dirname(path)}/**" if dirname(path) else path for path in changed or named}
    wide = sorted(found)
    return tuple(PathPattern(text) for text in wide if not _is_inner(text, wide))


def _is_inner(text: str, others: Iterable[str]) -> bool:
    return any(
        other != text and other.endswith("/**") and text.startswith(other.removesuffix("**"))
        for other in others
    )


def _varies(word: str, context: CallContext, terms: Terms, question: Question) -> bool:
    """A word may vary if it is a file of the workspace, within the bounds, that is not run."""
    if not is_within(terms, word, context):
        return False
    inside = context.inside(context.resolve(word)) or ""
    is_file = question.digest_of(inside) is not None or any(
        change.path == inside for change in question.changeset.changes
    )
    return is_file and inside not in terms.files and "/" in inside


def _words(terms: Terms) -> str:
    if terms.call_digest:
        return "this very call with this very effect"
    if terms.shapes:
        what = " and ".join(shown(shape.as_text()) for shape in terms.shapes)
    else:
        what = f"{terms.tool} of these files"
    paths = ", ".join(pattern.text for pattern in terms.bounds.paths)
    kinds = ", ".join(sorted(kind.value for kind in terms.bounds.kinds))
    bound = f", while {', '.join(terms.files)} stays as it is" if terms.files else ""
    where = f" in {paths}" if paths else ""
    most = terms.bounds.max_changes
    return f"{what}, with at most {most} changes{where} ({kinds}){bound}"


def _until(scope: GrantScope, lifetime: timedelta) -> str:
    hours = lifetime.total_seconds() / 3600
    limit = f"for {hours:g} h, at most {MAX_USES[scope]} times"
    return f"until the session ends, {limit}" if scope is GrantScope.SESSION else limit


def _also(grant: Grant, question: Question, recent: Sequence[ToolCall]) -> Iterable[str]:
    """Yield further calls that the grant is about: real ones that were made, then made-up ones."""
    seen = {question.facts.call.digest}
    for call in (*recent, *_variants(grant, question)):
        if call.digest in seen:
            continue
        seen.add(call.digest)
        facts = facts_of(call, question.facts.context)
        if not uncovered(grant, replace(question, facts=facts)):
            yield _call_text(call)


def _variants(grant: Grant, question: Question) -> Iterable[ToolCall]:
    """Yield calls with other paths and messages in the places that may vary."""
    call = question.facts.call
    others = [f"{p.text.removesuffix('**')}another/file" for p in grant.terms.bounds.paths]
    others = [path for path in others if path.endswith("another/file")]
    if not question.facts.runs:
        for path in others:
            yield replace(call, arguments=_changing(call, path))
        return
    for shape in grant.terms.shapes:
        words = _filled(shape, others)
        if words:
            yield ToolCall(call_id="example", tool=call.tool, arguments=_running(call, words))


def _filled(shape: Shape, others: Sequence[str]) -> list[str]:
    if not any(slot is not Slot.WORD for slot, _ in shape.slots):
        return []
    words: list[str] = []
    for slot, text in shape.slots:
        if slot is Slot.PATHS:
            words += others
        else:
            words.append("any message" if slot is Slot.TEXT else text)
    return words


def _running(call: ToolCall, words: Sequence[str]) -> dict[str, JsonValue]:
    if call.tool == "exec":
        return {"argv": [*words]}
    return {"command": " ".join(f"'{word}'" if " " in word else word for word in words)}


def _changing(call: ToolCall, path: str) -> dict[str, JsonValue]:
    if call.tool == "apply_patch":
        return {"patch": f"diff --git a/{path} b/{path}\n"}
    return {**call.arguments, "path": path}


def _call_text(call: ToolCall) -> str:
    given = call.arguments
    if call.tool == "apply_patch":
        return f"{call.tool} {' '.join(patch_paths(call))}"
    argv = given.get("argv")
    if isinstance(argv, list):
        return " ".join(str(word) for word in argv)
    return str(given.get("command") or f"{call.tool} {given.get('path', '')}")
