"""What pip's words mean: it tells everything on standard error, in English, in no fixed form.

Only names and versions are taken from them: they may hold addresses with a user's name in them.
"""

import re
from dataclasses import dataclass

from luminaguard.image import space
from luminaguard.image.additions.pipalone import REFUSAL

_ADDRESS = re.compile(r"\b[a-z][a-z0-9+.-]*://\S+")
_UNMET = re.compile(r"No matching distribution found for (.+?)(?: \(from .*)?$", re.MULTILINE)
_ERROR = re.compile(r"^ERROR: (.+)$", re.MULTILINE)
_NETWORK = re.compile(
    r"Retrying \(|Failed to establish a new connection|NewConnectionError|Name or service not known"
    r"|Temporary failure in name resolution|Read timed out|Could not fetch URL|ConnectionError"
    r"|Connection aborted|Network is unreachable|Connection refused|SSLError|ProxyError"
)
_TOO_LARGE = re.compile(r"File too large|Errno 27\b")
_INDEX_HINT = "check the network and the index: pip config list"


@dataclass(frozen=True, slots=True, kw_only=True)
class Complaint:
    """Why pip could not fetch what was asked for."""

    message: str
    hint: str
    unmet: str = ""
    """The requirement that nothing meets."""
    is_full_disk: bool = False
    is_too_large: bool = False


def misses_index(words: str) -> bool:
    """Whether pip said, successful or not, that something did not answer."""
    return _NETWORK.search(words) is not None


def complaint_of(words: str) -> Complaint:
    """Read what pip said when it failed."""
    words = _ADDRESS.sub("<address>", words)
    if space.names_full_disk(words):
        return Complaint(message="", hint="", is_full_disk=True)
    if _TOO_LARGE.search(words):
        return Complaint(message="", hint="", is_too_large=True)
    for find, message, hint in _KNOWN:
        if found := find.search(words):
            named = " ".join(part for part in found.groups() if part)
            return Complaint(message=message.format(named), hint=hint)
    if misses_index(words):
        message = "the package index cannot be reached"
        return Complaint(message=message, hint=_INDEX_HINT)
    if unmet := _UNMET.search(words):
        message = f"no package index that this host knows has {unmet[1]} for the guest's Python"
        return Complaint(message=message, hint=_INDEX_HINT, unmet=unmet[1])
    errors = _ERROR.findall(words)
    reason = errors[0] if errors else (words.strip().rpartition("\n")[2] or "it says nothing")
    return Complaint(message=f"pip cannot fetch the requirements: {reason}", hint=_INDEX_HINT)


_KNOWN = (
    (
        re.compile(re.escape(REFUSAL)),
        "a requirement depends on something that is not on an index and would have to be built "
        "by running its code on this host",
        "look which one names an address or a repository in its metadata, and leave it out",
    ),
    (
        re.compile(r"DO NOT MATCH THE HASHES"),
        "a package is not the one that the requirement file's hashes name",
        "renew the hashes if you trust the new file; else the index serves something else",
    ),
    (
        re.compile(r"all requirements must have their versions pinned|all their hashes|"
                   r"Hashes are required in --require-hashes mode"),
        "some requirements have hashes and others, or what they need, have none",
        "give all of them hashes (pip-compile --generate-hashes), or none",
    ),
    (
        re.compile(r"Cannot install (.+?) because these package versions have conflicting"),
        "these requirements contradict each other: {}",
        "loosen one of them",
    ),
    (
        re.compile(r"Invalid requirement: (.+)$", re.MULTILINE),
        "pip cannot read the requirement {}",
        "write it as: name >= 1.0",
    ),
)  # fmt: skip
