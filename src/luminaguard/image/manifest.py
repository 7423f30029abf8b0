"""The record of what an image is: its hash is the image's name."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from hashlib import sha256
from typing import Any

from luminaguard.errors import ImageError

FORMAT = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class PackageRecord:
    """One package that the image was made from."""

    name: str
    version: str
    architecture: str
    sha256: str


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
            if table.pop("format") != FORMAT:
                raise ImageError("the manifest is of another format", hint=_REBUILD)
            return cls(
                kernel=_kernel(table.pop("kernel")),
                packages=tuple(PackageRecord(**each) for each in table.pop("packages")),
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
