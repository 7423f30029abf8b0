"""The files of a workspace that a command runs: a grant is bound to what is in them.

`./build.sh` is another program once the file is another. Named scripts are found, scripts given to
an interpreter, and the files that build tools read their commands from. What those run in turn is
not: its effect is measured and bounded like everything else.
"""

from collections.abc import Callable, Mapping

from luminaguard.policy.context import CallContext
from luminaguard.policy.paths import program_name
from luminaguard.policy.rules.spoken import Words

DigestOf = Callable[[str], str | None]
"""Path in the workspace → SHA-256 of the file that the guest was given there; None without one."""

_INTERPRETERS = frozenset((
    "python", "source", ".", "sh", "bash", "dash", "node", "ruby", "perl", "php", "lua", "deno",
    "bun",
))  # fmt: skip
_WRAPPERS = frozenset((
    "env", "timeout", "nohup", "nice", "ionice", "setsid", "time", "watch", "stdbuf", "xargs",
    "sudo", "su", "doas", "command", "exec", "eval", "builtin", "busybox", "find", "parallel",
    "strace", "ltrace", "gdb", "script", "flock", "chrt", "taskset", "unshare", "entr", "uv", "npx",
    "poetry", "pipenv", "bundle", "coverage",
))  # fmt: skip
"""Which of their words they run is not looked into: every file that they name is bound."""
_READ_BY: Mapping[str, tuple[str, ...]] = {
    "make": ("GNUmakefile", "makefile", "Makefile"),
    "npm": ("package.json",),
    "yarn": ("package.json",),
    "pnpm": ("package.json",),
    "just": ("justfile", "Justfile", ".justfile"),
    "rake": ("Rakefile",),
    "cargo": ("Cargo.toml", "build.rs"),
    "tox": ("tox.ini",),
    "nox": ("noxfile.py",),
}
_SYSTEM = ("/bin/", "/usr/bin/", "/usr/local/bin/")


def run_files(words: Words, context: CallContext, digest_of: DigestOf) -> dict[str, str] | None:
    """Return path → digest of the workspace's files that a command runs.

    None where it names a program that cannot be bound: outside the workspace, or not there.
    """
    program = words[0]
    found: dict[str, str] = {}
    if "/" in program and not program.startswith(_SYSTEM):
        inside, digest = _held(program, context, digest_of)
        if digest is None:
            return None
        found[inside] = digest
    name = program_name(program)
    runs_others = name in _WRAPPERS
    if runs_others or (name.rstrip("0123456789.") or name) in _INTERPRETERS:
        for word in words[1:]:
            inside, digest = _held(word, context, digest_of)
            if digest is not None:
                found[inside] = digest
                if not runs_others:
                    break
    for word in _READ_BY.get(name, ()):
        inside, digest = _held(word, context, digest_of)
        if digest is not None:
            found[inside] = digest
    return found


def _held(word: str, context: CallContext, digest_of: DigestOf) -> tuple[str, str | None]:
    """Return where in the workspace a word points, and what the guest was given there."""
    inside = context.inside(context.resolve(word)) if "\0" not in word else None
    return (inside, digest_of(inside)) if inside else ("", None)
