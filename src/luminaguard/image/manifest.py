"""The record of what an image is: its hash is the image's name."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from hashlib import sha256
from typing import Any

from luminaguard.errors import ImageError
from luminaguard.image.contents import Contents

FORMAT = 2
_READABLE = frozenset({1, 2})
"""Format 1 knew no added packages and said nothing of an image's contents."""


class PackageKind(StrEnum):
    """Where a package comes from, and so what its name means."""

    DEB = "deb"
    WHEEL = "wheel"
    NPM = "npm"
    TOOL = "tool"
    """A Debian package that the build used; it is not in the image."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PackageRecord:
    """One package that the image was made from."""

    name: str
    version: str
    architecture: str
    sha256: str
    kind: PackageKind = PackageKind.DEB


@dataclass(frozen=True, slots=True, kw_only=True)
class ArtifactRecord:
    """One file of the image."""

    sha256: str
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class KernelRecord:
    """The guest kernel, and the drivers that the initial RAM disk loads into it."""

    version: str
    modules: tuple[str, ...]
    """In load order."""
    builtin: tuple[str, ...]
    """Wanted drivers that need no loading."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """Everything that went into an image and everything that came out."""

    name: str
    recipe_version: int
    inputs: str
    """Digest of the recipe and all packages: equal inputs give an equal image."""
    distribution: str
    architecture: str
    kernel: KernelRecord
    packages: tuple[PackageRecord, ...]
    artifacts: Mapping[str, ArtifactRecord]
    """File name → what it must be."""
    asked: tuple[str, ...] = ()
    """Debian packages that were asked for beyond the recipe's own."""
    contents: Contents = field(default_factory=Contents)

    def to_bytes(self) -> bytes:
        """Return the one form in which this manifest is written and hashed."""
        table = {"format": FORMAT, **asdict(self)}
        return (json.dumps(table, indent=1, sort_keys=True, ensure_ascii=False) + "\n").encode()

    @property
    def digest(self) -> str:
        """SHA-256 of the written manifest, hexadecimal."""
        return sha256(self.to_bytes()).hexdigest()

    @classmethod
    def from_bytes(cls, content: bytes) -> "Manifest":
        """Read a written manifest.

        Raises:
            ImageError: it is damaged or of another format.
        """
        try:
            table: dict[str, Any] = json.loads(content)
            if table.pop("format") not in _READABLE:
                raise ImageError("the manifest is of another format", hint=_REBUILD)
            return cls(
                kernel=_kernel(table.pop("kernel")),
                packages=tuple(_package(each) for each in table.pop("packages")),
                asked=tuple(table.pop("asked", ())),
                contents=_contents(table.pop("contents", {})),
                artifacts={
                    name: ArtifactRecord(**each) for name, each in table.pop("artifacts").items()
                },
                **table,
            )
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise ImageError("the manifest is damaged", hint=_REBUILD) from error


_REBUILD = "luminaguard image build"


def _kernel(table: dict[str, Any]) -> KernelRecord:
    return KernelRecord(
        version=table["version"],
        modules=tuple(table["modules"]),
        builtin=tuple(table["builtin"]),
    )


def _package(table: dict[str, Any]) -> PackageRecord:
    return PackageRecord(**{**table, "kind": PackageKind(table.get("kind", PackageKind.DEB))})


def _contents(table: dict[str, Any]) -> Contents:
    return Contents(
        python=table.get("python", ""),
        programs=tuple(table.get("programs", ())),
        distributions=dict(table.get("distributions", {})),
        node_modules=tuple(table.get("node_modules", ())),
        node_commands=tuple(table.get("node_commands", ())),
    )
