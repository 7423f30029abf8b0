"""What a variable holds, as far as the text and every shell's own variables tell."""

import re

from luminaguard.policy.shell.commands import Scope
from luminaguard.policy.shell.words import HOME, Word, exact, hole, numeric

_NUMBERS = frozenset({
    "?", "#", "$", "!", "RANDOM", "SECONDS", "LINENO", "UID", "EUID", "PPID", "BASHPID", "SHLVL",
    "COLUMNS", "LINES", "EPOCHSECONDS",
})  # fmt: skip
_HARMLESS = frozenset({
    "USER", "LOGNAME", "SHELL", "PATH", "LANG", "LANGUAGE", "TERM", "EDITOR", "VISUAL", "PAGER",
    "HOSTNAME", "HOSTTYPE", "OSTYPE", "MACHTYPE", "BASH_VERSION", "BASH", "ZSH_VERSION", "TMPDIR",
    "OLDPWD", "TZ", "VIRTUAL_ENV", "CONDA_PREFIX", "GOPATH", "GOROOT", "JAVA_HOME", "NODE_ENV",
    "CI", "DISPLAY", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_CACHE_HOME", "XDG_RUNTIME_DIR",
    "PIPESTATUS", "0", "-", "_", "COLORTERM", "PYTHONPATH", "CARGO_HOME", "RUSTUP_HOME", "NVM_DIR",
})  # fmt: skip
"""Variables that everybody has and that never hold a secret."""
_RISKY_NAME = re.compile(
    r"PATH|IFS|ENV|BASH_.*|BASHOPTS|SHELLOPTS|PS\d|PROMPT_COMMAND|CDPATH|GLOBIGNORE|HOME|O?L?D?PWD"
    r"|OPTIND|EXECIGNORE|FIGNORE|HISTFILE|HISTCONTROL|TMOUT|POSIXLY_CORRECT|TERM|TERMINFO|SHELL"
    r"|(?:LD|DYLD|GIT|SSH|LESS|MAN|PYTHON|PERL|RUBY|NODE|NPM|JAVA|JDK|GCONV|MALLOC|GREP|RIPGREP|FZF"
    r"|JQ|LUA|CARGO|RUST|GO|DOCKER|KUBE|AWS|GOOGLE|AZURE|SUDO|TAR|GZIP|XZ|ZSTD|BAT|FD|DIFF|SYSTEMD"
    r"|NLSPATH|LOCPATH|HOSTALIASES|RES_OPTIONS|GLIBC|OPENSSL|SSL|CURL|WGET)(?:_?.*)"
    r"|PAGER|EDITOR|VISUAL|BROWSER|FCEDIT|.*_(?:OPTIONS|OPTS|CONFIG|PATH|RC|PAGER|EDITOR|COMMAND)"
    r"|(?i:.*_?proxy)|TMPDIR|TZDIR"
)
"""Variables that tell a program or the shell to run, load or write something."""
_PREFIX_VALUES = {
    re.compile(r"LC_[A-Z]+|LANG|LANGUAGE"): re.compile(r"[A-Za-z0-9_.@:-]{0,40}"),
    re.compile(r"TZ"): re.compile(r"(?!.*\.\.)(?:[A-Za-z0-9+-][A-Za-z0-9_/+,.:-]{0,40})?"),
    re.compile(
        r"NO_COLOR|CLICOLOR|CLICOLOR_FORCE|FORCE_COLOR|COLUMNS|LINES|CI|POSIXLY_CORRECT"
        r"|PYTHONDONTWRITEBYTECODE|PYTHONUNBUFFERED|NO_PAGER"
    ): re.compile(r"[A-Za-z0-9]{0,8}"),
    re.compile(r"TERM"): re.compile(r"dumb|xterm(?:-256color)?|linux|vt100|ansi"),
    re.compile(r"GIT_OPTIONAL_LOCKS|GIT_TERMINAL_PROMPT"): re.compile(r"0"),
    re.compile(r"(?:GIT_|MAN)?PAGER|SYSTEMD_PAGER"): re.compile(r""),
}  # fmt: skip
"""Variable → the values with which it changes only how something is printed."""


def value_of(name: str, scope: Scope, unsteady: frozenset[str]) -> Word:
    """Return what `$name` is."""
    shown = f"${name}"
    if name in _NUMBERS and name not in scope.bound:
        return numeric(shown)
    if name in unsteady:
        return hole(shown, printed=True, environment=True)
    if name in scope.bound:
        return scope.bound[name]
    if name == "HOME":
        return exact(HOME)
    if name == "PWD" and len(scope.cwds) == 1:
        return exact(scope.cwds[0])
    harmless = name in _HARMLESS or name in {"PWD", "@", "*"} or name.isdigit()
    harmless = harmless or name.startswith("LC_")
    return hole(shown, printed=True, environment=not harmless)


def sets_only_itself(name: str) -> bool:
    """Say whether an assignment of its own to `name` tells no program and no shell anything."""
    return _RISKY_NAME.fullmatch(name) is None


def only_formats(name: str, value: Word) -> bool:
    """Say whether `name=value` before a command changes only how it prints."""
    return value.exact and any(
        names.fullmatch(name) and values.fullmatch(value.text)
        for names, values in _PREFIX_VALUES.items()
    )
