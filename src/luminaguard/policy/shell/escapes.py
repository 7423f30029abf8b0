r"""What backslashes mean in the three places where the shell gives them a meaning.

Source: bash manual §3.1.2.1 (escape character), §3.1.2.3 (double quotes), §3.1.2.4 (ANSI-C).
"""

import re

_NAMED = {
    "a": "\a", "b": "\b", "e": "\x1b", "E": "\x1b", "f": "\f", "n": "\n", "r": "\r", "t": "\t",
    "v": "\v", "\\": "\\", "'": "'", '"': '"', "?": "?",
}  # fmt: skip
_ANSI = re.compile(
    r"\\(?:x(?P<hex>[0-9a-fA-F]{1,2})|u(?P<u4>[0-9a-fA-F]{1,4})|U(?P<u8>[0-9a-fA-F]{1,8})"
    r"|(?P<oct>[0-7]{1,3})|c(?P<ctrl>.)|(?P<other>.))",
    re.DOTALL,
)
_DOUBLE = re.compile(r'\\([$`"\\])|\\\n')
_PLAIN = re.compile(r"\\(.)", re.DOTALL)


def unescaped(text: str) -> str:
    """Return unquoted text with its backslashes taken out."""
    return _PLAIN.sub(r"\1", text) if "\\" in text else text


def in_double_quotes(text: str) -> str:
    """Return the literal text between double quotes."""
    return _DOUBLE.sub(lambda match: match.group(1) or "", text) if "\\" in text else text


def ansi_c(text: str) -> tuple[str, bool]:
    """Return the meaning of the text between `$'` and `'`, and whether it hides plain letters."""
    hides = False

    def meaning(match: re.Match[str]) -> str:
        nonlocal hides
        other = match["other"]
        if other is not None:
            return _NAMED.get(other, "\\" + other)
        if match["ctrl"] is not None:
            return chr(ord(match["ctrl"]) & 0x1F)
        code = (
            int(match["oct"], 8) & 0xFF
            if match["oct"]
            else int(match["hex"] or match["u4"] or match["u8"], 16)
        )
        hides = hides or 0x20 < code < 0x7F
        return chr(code) if 0 < code < 0x110000 and not 0xD800 <= code < 0xE000 else "\ufffd"

    return _ANSI.sub(meaning, text), hides
