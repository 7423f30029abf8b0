"""The host-side facts that a call is judged in."""

from dataclasses import dataclass, replace

from luminaguard.policy.paths import is_inside, resolved
from luminaguard.policy.taint import CLEAN, Taint


@dataclass(frozen=True, slots=True, kw_only=True)
class CallContext:
    """Where a call happens. Known to the host; nothing in it comes from a guest or a model."""

    workspace: str
    """Absolute path of the workspace root, the same in the guest as on the host."""
    cwd: str = ""
    """Absolute path that relative ones start from; empty means the workspace root."""
    taint: Taint = CLEAN
    """What the session has seen so far."""

    def resolve(self, path: str) -> str:
        """Return `path` as an absolute one; symbolic links are not followed."""
        return resolved(path, self.cwd or self.workspace)

    def entering(self, directory: str) -> "CallContext":
        """Return the context after a change of directory."""
        return replace(self, cwd=self.resolve(directory))

    def inside(self, path: str) -> str | None:
        """Return a resolved path relative to the workspace (`.` for its root); None if outside.

        How the user named the directories above the workspace says nothing about a call.
        """
        if not is_inside(path, self.workspace):
            return None
        return path[len(self.workspace.rstrip("/")) + 1 :] or "."

    def without_root(self, text: str) -> str:
        """Return free text with the workspace's own path taken out."""
        return text.replace(self.workspace, ".") if self.workspace != "/" else text
