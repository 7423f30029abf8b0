"""Checks small languages that are handed to programs as words: sed, awk, jq, yq.

Each has statements that run programs, write files or read the environment. Only scripts that
provably have none are pure; what is not recognised counts against a script.
"""

import re

_SED_ADDRESS = (
    r"(?:\d+(?:~\d+)?|\$|/(?:[^/\\\n]|\\.)*/[IM]*"
    r"|\\(?P<d{n}>[^\\\n])(?:(?!(?P=d{n})).)*(?P=d{n})[IM]*)"
)
_SED_ADDRESSES = re.compile(
    r"\s*(?:"
    + _SED_ADDRESS.format(n=1)
    + r"(?:\s*,\s*(?:[+~]\d+|"
    + _SED_ADDRESS.format(n=2)
    + r"))?)?\s*!*\s*"
)
_SED_PLAIN = re.compile(
    r"(?:[pPdDgGhHnNxz={}]|[qQl]\s*\d*|[btT]\s*[A-Za-z0-9_]*(?=\s|;|\}|$)|:\s*[A-Za-z0-9_]+)"
)
_SED_TEXT = re.compile(r"[aic]\\?[^\n]*(?:\\\n[^\n]*)*")
_SED_FLAGS = re.compile(r"(?:[gpiIM]|\d)*")
_SED_END = re.compile(r"\s*(?:;|\n|\}|#[^\n]*|$)")


def harmless_sed(script: str) -> bool:
    """Say whether a sed script only prints and edits what it prints.

    Source: GNU sed manual §3.2 (commands): `e`, `w`, `W`, `r`, `R`, `F` and the flags `e` and `w`
    of `s` are those that are not listed here.
    """
    at = 0
    while at < len(script):
        if script[at] in " \t\n;":
            at += 1
            continue
        addresses = _SED_ADDRESSES.match(script, at)
        if addresses and _open_bracket(addresses.group()):
            return False
        at = addresses.end() if addresses else at
        end = _sed_command(script, at)
        if end is None:
            return False
        at = end
    return True


def _sed_command(script: str, at: int) -> int | None:
    """Return where one command ends; None if it is not known to be harmless."""
    command = script[at : at + 1]
    if command in {"s", "y"}:
        return _sed_substitution(script, at)
    if command == "#":
        return script.find("\n", at) if "\n" in script[at:] else len(script)
    pattern = _SED_TEXT if command and command in "aic" else _SED_PLAIN
    match = pattern.match(script, at)
    if match is None:
        return None
    if command in {"{", "}"}:
        return match.end()
    return match.end() if _SED_END.match(script, match.end()) else None


def _sed_substitution(script: str, at: int) -> int | None:
    delimiter = script[at + 1 : at + 2]
    if not delimiter or delimiter in "\\\n":
        return None
    end = at + 2
    for part in range(2):
        found = _sed_delimiter(script, end, delimiter)
        if found is None or (not part and _open_bracket(script[end : found - 1])):
            return None
        end = found
    flags = _SED_FLAGS.match(script, end)
    end = flags.end() if flags and script[at] == "s" else end
    return end if _SED_END.match(script, end) else None


def _sed_delimiter(script: str, at: int, delimiter: str) -> int | None:
    """Return the place after the next unescaped delimiter."""
    while at < len(script):
        if script[at] == "\\":
            at += 2
        elif script[at] == delimiter:
            return at + 1
        else:
            at += 1
    return None


def _open_bracket(regex: str) -> bool:
    """Say whether a bracket expression is left open: it may hold the delimiter, or end it.

    `s/[/]/;/e;#/p` is one command in one reading and two in the other.
    """
    rest = _ESCAPED.sub("", regex)
    return "[" in _BRACKETED.sub("", rest)


_ESCAPED = re.compile(r"\\.", re.DOTALL)
_BRACKETED = re.compile(r"\[\^?\]?(?:\[[:.=][^]]*[:.=]\]|[^]])*\]")
_AWK_NEVER = re.compile(
    r"\b(?:system|getline|ENVIRON|PROCINFO|SYMTAB|FUNCTAB|ARGV|ARGC|close|fflush|nextfile|extension)\b|@|\\\n"
)
_AWK_STRING = re.compile(r'"(?:[^"\\\n]|\\.)*"')
_AWK_REGEX = re.compile(r"(?P<before>(?:^|[(,~!&|{};=\n]|\breturn|\bprint)\s*)/(?:[^/\\\n]|\\.)+/")
_AWK_SPLIT = re.compile(r"[;{}\n]")


def harmless_awk(program: str) -> bool:
    """Say whether an awk program reads nothing but its files and writes nothing but its output.

    Source: POSIX awk, "Output statements" and "Input functions"; gawk manual §4.10, §5.6.
    """
    if _AWK_NEVER.search(program):
        return False
    if "|" not in program and ">" not in program:
        return True
    bare = _AWK_STRING.sub('""', program)
    if '"' in bare.replace('""', ""):
        return False
    bare = _AWK_REGEX.sub(r"\g<before>0", bare)
    if "|" in bare.replace("||", ""):
        return False
    return not any(
        "print" in part and ">" in part.partition("print")[2] for part in _AWK_SPLIT.split(bare)
    )


_JQ_NEVER = re.compile(
    r"\$ENV\b|\benv\b|\binput_filename\b|\b(?:include|import|modulemeta|get_search_list|\$__prog)\b"
)
_YQ_NEVER = re.compile(
    r"\b(?:load\w*|env|strenv|envsubst|system|eval|include|import|split_doc|filename)\b|\$ENV"
)


def harmless_jq(program: str) -> bool:
    """Say whether a jq program looks at nothing but its input."""
    return _JQ_NEVER.search(program.replace(".env", ".e")) is None


def harmless_yq(program: str) -> bool:
    """Say whether a yq program looks at nothing but its input."""
    return _YQ_NEVER.search(program) is None
