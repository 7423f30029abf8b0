"""Which programs a project's build files, scripts and CI steps start: the obvious ones only."""

import re
from collections.abc import Iterator

from luminaguard.image.needs.files import ProjectFiles, table_of
from luminaguard.image.needs.need import Need, NeedKind

_SPLIT = re.compile(r"&&|\|\||[;|&]")
_ASSIGNMENT = re.compile(r"[A-Za-z_][A-Za-z0-9_]*=\S*\s+")
_WORD = re.compile(r"[a-z][a-z0-9+._-]*")
_WRAPPERS = frozenset({"command", "env", "exec", "nice", "sudo", "time", "then", "do", "else", "!"})
_SHELL = frozenset(
    {
        "alias", "bg", "break", "case", "cd", "continue", "declare", "done", "echo", "elif", "esac",
        "eval", "exit", "export", "false", "fg", "fi", "for", "function", "getopts", "hash", "if",
        "in", "jobs", "kill", "let", "local", "printf", "pwd", "read", "readonly", "return",
        "select", "set", "shift", "shopt", "source", "test", "times", "trap", "true", "type",
        "typeset", "ulimit", "umask", "unalias", "unset", "until", "wait", "while", "ifeq", "ifneq",
        "ifdef", "ifndef", "endif", "include", "define", "endef"
    }
)  # fmt: skip
"""Words that the shell, or make, knows itself."""
_SHEBANG = re.compile(r"#!\s*(?:/usr/bin/env\s+(?:-S\s+)?)?(?:\S*/)?([a-z][a-z0-9+._-]*)")
_RUN = re.compile(r"(?P<indent>\s*)(?:-\s+)?run:\s*(?P<rest>.*)")
_BLOCK = re.compile(r"[|>][+-]?\d*\s*(#.*)?")
_ITEM = re.compile(r"\s+-\s+(?P<rest>[^\[{&*!].*)")
_SCRIPT_FOLDERS = ("", "bin", "scripts", "script", "tools", "test", "tests", ".ci")
_MAX_SCRIPTS = 200
_MAX_WORKFLOWS = 50

_MANIFESTS = {
    "Cargo.toml": ("cargo", "rustc"),
    "go.mod": ("go",),
    "Gemfile": ("ruby", "bundle"),
    "composer.json": ("php", "composer"),
    "pom.xml": ("java", "mvn"),
    "build.gradle": ("java", "gradle"),
    "build.gradle.kts": ("java", "gradle"),
    "CMakeLists.txt": ("cmake", "cc"),
    "meson.build": ("meson", "cc"),
    "configure.ac": ("autoconf", "automake", "cc"),
    "mix.exs": ("elixir", "mix"),
    "rebar.config": ("erl", "rebar3"),
    "stack.yaml": ("ghc", "stack"),
    "cabal.project": ("ghc", "cabal"),
    "dune-project": ("ocaml", "dune"),
    "cpanfile": ("perl",),
    "deno.json": ("deno",),
    "build.zig": ("zig",),
}
"""File that shows how a project is built → programs that this takes."""


def program_needs(project: ProjectFiles) -> Iterator[Need]:
    """Yield a need for each program that a file starts plainly; one may come several times."""
    names = project.names()
    for name, programs in _MANIFESTS.items():
        if name in names:
            yield from (_program(each, name) for each in programs)
    for name in ("Makefile", "makefile", "GNUmakefile"):
        if name in names:
            yield _program("make", name)
            for line in project.lines(name):
                if line.startswith("\t"):
                    yield from started(line.lstrip("\t@-+ "), name)
    for script in table_of(project.json("package.json").get("scripts")).values():
        if isinstance(script, str):
            yield from started(script, "package.json")
    yield from _scripts(project)
    yield from _workflows(project)


def started(line: str, where: str) -> Iterator[Need]:
    """Yield a need for the first word of each command in a line of shell."""
    for part in _SPLIT.split(line.partition(" #")[0]):
        words = _ASSIGNMENT.sub("", part.strip(" (){}`\"'"), count=4).split()
        while words and words[0] in _WRAPPERS:
            words = words[1:]
        if words and _WORD.fullmatch(words[0]) and words[0] not in _SHELL:
            yield _program(words[0], where)


def _scripts(project: ProjectFiles) -> Iterator[Need]:
    for folder in _SCRIPT_FOLDERS:
        for name in project.names(folder)[:_MAX_SCRIPTS]:
            if "." in name and not name.endswith((".sh", ".bash", ".py", ".pl", ".rb", ".js")):
                continue
            path = f"{folder}/{name}" if folder else name
            first = next(project.lines(path), "")
            if found := _SHEBANG.match(first):
                yield _program(found[1], path)


def _workflows(project: ProjectFiles) -> Iterator[Need]:
    folder = ".github/workflows"
    for name in project.names(folder)[:_MAX_WORKFLOWS]:
        if name.endswith((".yml", ".yaml")):
            path = f"{folder}/{name}"
            for line in _run_lines(project.lines(path)):
                yield from started(line, path)
    for line in project.lines(".gitlab-ci.yml"):
        if found := _ITEM.match(line):
            yield from started(found["rest"].strip("\"'"), ".gitlab-ci.yml")


def _run_lines(lines: Iterator[str]) -> Iterator[str]:
    """Yield the shell lines of `run:` steps, without a YAML reader: by indentation."""
    depth = -1
    for line in lines:
        indent = len(line) - len(line.lstrip())
        if depth >= 0 and (indent > depth or not line.strip()):
            yield line.strip()
            continue
        depth = -1
        if found := _RUN.fullmatch(line):
            if _BLOCK.fullmatch(found["rest"]):
                depth = len(found["indent"])
            else:
                yield found["rest"].strip("\"'")


def _program(name: str, where: str) -> Need:
    return Need(kind=NeedKind.PROGRAM, name=name, where=where)
