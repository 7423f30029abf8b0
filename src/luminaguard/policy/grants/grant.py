"""A grant as a value: what it covers, whose it is, and how long it holds."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import sha256
from typing import cast

from luminaguard.domain.calls import JsonValue, canonical_json
from luminaguard.domain.changeset import ChangeKind, Changeset
from luminaguard.domain.grant import GrantScope
from luminaguard.policy.bounds import Bounds
from luminaguard.policy.grants.shape import Shape, Slot
from luminaguard.policy.patterns import PathPattern

Fields = Mapping[str, JsonValue]


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """Which calls and effects a grant covers."""

    tool: str
    call_digest: str = ""
    """This very call; empty: calls of these shapes."""
    effect: str = ""
    """This very effect: `effect_digest`; empty: effects within the bounds."""
    shapes: tuple[Shape, ...] = ()
    """Every command must only read or have one of these forms."""
    bounds: Bounds = field(default_factory=Bounds)
    files: Mapping[str, str] = field(default_factory=dict[str, str])
    """Path → SHA-256 of what the commands run; anything else there voids the grant."""

    def as_json(self) -> dict[str, JsonValue]:
        """Return all fields, sets in order."""
        return {
            "tool": self.tool,
            "call_digest": self.call_digest,
            "effect": self.effect,
            "shapes": [shape.as_json() for shape in self.shapes],
            "paths": [pattern.text for pattern in self.bounds.paths],
            "kinds": [*sorted(kind.value for kind in self.bounds.kinds)],
            "max_changes": self.bounds.max_changes,
            "files": dict(self.files),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """A remembered approval."""

    grant_id: str
    scope: GrantScope
    workspace: str
    """Identity of the workspace that it was given in; it holds nowhere else."""
    session_id: str
    """The session that it was given in; of scope SESSION it ends with that."""
    terms: Terms
    covers: str
    """What it lets through, in the words that the human was shown."""
    given_by: str
    """The approver, and how they proved themselves."""
    request: str
    """Digest of the approved request."""
    policy_version: str
    created_at: datetime
    expires_at: datetime
    max_uses: int
    uses: int = 0

    def is_open(self, now: datetime) -> bool:
        """Say whether it is neither expired nor used up."""
        return self.created_at <= now < self.expires_at and self.uses < self.max_uses

    def as_json(self) -> dict[str, JsonValue]:
        """Return all fields, as they are kept and listed."""
        return {
            "grant_id": self.grant_id,
            "scope": self.scope.value,
            "covers": self.covers,
            "workspace": self.workspace,
            "session_id": self.session_id,
            "terms": self.terms.as_json(),
            "given_by": self.given_by,
            "request": self.request,
            "policy_version": self.policy_version,
            "created_at": self.created_at.isoformat(),
            "expires_at": self.expires_at.isoformat(),
            "max_uses": self.max_uses,
            "uses": self.uses,
        }


def effect_digest(changeset: Changeset) -> str:
    """Return what names an effect wherever it begins: every path, what happens, and the result."""
    effect: list[JsonValue] = [
        {
            "path": change.path,
            "kind": change.kind.value,
            "after": change.after.as_json() if change.after else None,
        }
        for change in changeset.changes
    ]
    return sha256(canonical_json(effect)).hexdigest()


def grant_from(fields: Fields) -> Grant:
    """Return the grant that was kept.

    Raises:
        ValueError: the fields are not those of a grant.
    """
    try:
        grant = _grant(fields)
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"not a grant: {error!r}") from error
    if grant.as_json() != dict(fields):
        raise ValueError("not a grant: a field is missing, unknown or of another kind")
    return grant


def _grant(fields: Fields) -> Grant:
    text = {name: str(value) for name, value in fields.items() if isinstance(value, str)}
    return Grant(
        grant_id=text["grant_id"],
        scope=GrantScope(text["scope"]),
        workspace=text["workspace"],
        session_id=text["session_id"],
        terms=_terms(cast("Fields", fields["terms"])),
        covers=text["covers"],
        given_by=text["given_by"],
        request=text["request"],
        policy_version=text["policy_version"],
        created_at=datetime.fromisoformat(text["created_at"]),
        expires_at=datetime.fromisoformat(text["expires_at"]),
        max_uses=cast("int", fields["max_uses"]),
        uses=cast("int", fields["uses"]),
    )


def _terms(fields: Fields) -> Terms:
    shapes = cast("list[list[list[str]]]", fields["shapes"])
    return Terms(
        tool=str(fields["tool"]),
        call_digest=str(fields["call_digest"]),
        effect=str(fields["effect"]),
        shapes=tuple(Shape(slots=tuple((Slot(s), str(t)) for s, t in shape)) for shape in shapes),
        bounds=Bounds(
            paths=tuple(PathPattern(text) for text in cast("list[str]", fields["paths"])),
            kinds=frozenset(map(ChangeKind, cast("list[str]", fields["kinds"]))),
            max_changes=cast("int | None", fields["max_changes"]),
        ),
        files=dict(cast("Mapping[str, str]", fields["files"])),
    )
