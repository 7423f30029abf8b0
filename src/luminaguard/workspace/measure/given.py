"""What a guest was given at a path, by its content."""

import os
from hashlib import file_digest

from luminaguard.domain.changeset import EntryType
from luminaguard.workspace.base import Base
from luminaguard.workspace.confined import Descent
from luminaguard.workspace.root import WorkspaceRoot
from luminaguard.workspace.send.imaging import is_unmoved


def given_digest(root: WorkspaceRoot, base: Base, path: str) -> str | None:
    """Return the SHA-256 of a file of the base, hexadecimal. Blocking.

    None where the base has no such file, and where the host's is another by now: then it is not
    known any more what the guest was given.
    """
    held = base.get(path)
    if held is None or held.type is not EntryType.FILE or held.substituted:
        return None
    try:
        with Descent(root.fd) as tree, tree.file(path) as fd:
            if not is_unmoved(os.fstat(fd), held.identity):
                return None
            with os.fdopen(os.dup(fd), "rb") as file:
                digest = file_digest(file, "sha256").hexdigest()
            if not is_unmoved(os.fstat(fd), held.identity):
                return None
    except OSError:
        return None
    return digest if held.sha256 in {None, digest} else None
