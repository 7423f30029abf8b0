"""Keep the last image of a workspace while its tree stays as it is.

A rejection destroys the machine, not the tree: the next machine can have the same image. Kept in
this process only and without a name on the disk: an image holds the user's files, and nobody would
expect yesterday's to lie in a cache directory.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from luminaguard.errors import ChangesetConflict
from luminaguard.workspace.base import Base
from luminaguard.workspace.manifest import Manifest
from luminaguard.workspace.measure.hostside import HostSide
from luminaguard.workspace.root import WorkspaceRoot
from luminaguard.workspace.send.cleanfiles import CleanFiles
from luminaguard.workspace.send.ignore import IgnoreRules
from luminaguard.workspace.send.imaging import WorkspaceImage, build_image
from luminaguard.workspace.send.scan import ScanLimits, scan


@dataclass(frozen=True, slots=True, kw_only=True)
class _Kept:
    digest: str
    """Of the manifest as scanned, before contents were judged."""
    include: Sequence[str]
    image: WorkspaceImage


class ImageCache:
    """The last image of one workspace; every image handed out is the caller's to close."""

    def __init__(self, root: WorkspaceRoot, cache_dir: Path, clean: CleanFiles) -> None:
        """Image `root` with room in `cache_dir`; `clean` are files known to hold no secrets."""
        self._root = root
        self._cache_dir = cache_dir
        self._clean = clean
        self._kept: _Kept | None = None

    def image(self, rules: IgnoreRules, limits: ScanLimits | None = None) -> WorkspaceImage:
        """Return an image of the tree as it is now, made anew only if the tree changed. Blocking.

        Raises:
            WorkspaceTooLarge: the tree exceeds its limits.
            WorkspaceError: it cannot be read, or kept changing.
        """
        listed = scan(self._root, rules, limits)
        digest = listed.digest
        kept = self._kept
        if kept is None or (kept.digest, kept.include) != (digest, tuple(rules.include)):
            kept = None
        if kept is None or not self._is_still_true(kept.image.manifest):
            self.close()
            fresh = build_image(self._root, listed, self._cache_dir, rules=rules, clean=self._clean)
            kept = _Kept(digest=digest, include=tuple(rules.include), image=fresh)
            self._kept = kept
        return _handed_out(kept.image, listed)

    def close(self) -> None:
        """Drop what is kept; images that were handed out stay open."""
        if self._kept is not None:
            self._kept.image.close()
            self._kept = None

    def _is_still_true(self, manifest: Manifest) -> bool:
        """Read again the files whose identity could lie, because they had just changed."""
        with HostSide(self._root, Base(image=manifest)) as host:
            try:
                for path, held in manifest.entries.items():
                    if held.sha256 is not None:
                        host.digest(path, held)
            except ChangesetConflict:
                return False
        return True


def _handed_out(image: WorkspaceImage, listed: Manifest) -> WorkspaceImage:
    """Return the image with a descriptor of its own, and with what is left out now."""
    judged = {
        path: reason for path, reason in image.manifest.left_out.items() if path in listed.entries
    }
    manifest = Manifest(image.manifest.entries, listed.left_out | judged)
    return replace(image, fd=os.dup(image.fd), manifest=manifest)
