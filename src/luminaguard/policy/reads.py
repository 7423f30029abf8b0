"""The short list of commands that only read, with every option that they may have.

An option that is not listed makes the command unknown: options run programs (`--pre`), write files
(`-o`, `--output`) or read lists of files, and they can be abbreviated, so names are matched whole.
Reading is not enough to be green: `paths` still looks at what is read.

Git is not here: a repository's configuration can name programs that `git status` or `git diff`
start (fsmonitor, textconv, pager, external diff). Its effect is measured like any other.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from luminaguard.policy.paths import program_name


class Operands(StrEnum):
    """What the words that are not options mean."""

    PATHS = "paths"
    TEXT = "text"
    PATTERN_THEN_PATHS = "pattern-then-paths"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reader:
    """One program's harmless options."""

    flags: str = ""
    """Short options without a value."""
    valued: str = ""
    """Short options with a value, attached or as the next word."""
    long: frozenset[str] = frozenset()
    """Long options without a value, and those with one, written `--name=`."""
    operands: Operands = Operands.PATHS
    counts: bool = False
    """`-5` is an option too."""
    single_dash: frozenset[str] = frozenset()
    """Words like find's `-name`: exact, and, written `-name=`, taking the next word."""


@dataclass(frozen=True, slots=True)
class Read:
    """An understood pure read: the paths it names (none means where it stands)."""

    paths: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class NotARead:
    """Why a command is not on the list; `token` decided."""

    token: str
    why: str


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


_ANY_TEXT = Reader(operands=Operands.TEXT)
READERS: dict[str, Reader] = {
    "ls": Reader(
        flags="aAbBcCdfFghHiklLmnNopqQrRsStuUvxXZ1",
        long=_names(
            "--all --almost-all --human-readable --recursive --reverse --directory --inode --size "
            "--classify --color --color= --sort= --time= --time-style= --full-time --format= "
            "--group-directories-first --numeric-uid-gid --help --version"
        ),
    ),
    "cat": Reader(
        flags="AbeEnstTuv",
        long=_names(
            "--number --number-nonblank --squeeze-blank --show-all --show-ends --show-tabs"
        ),
    ),
    "head": Reader(flags="qvz", valued="nc", long=_names("--lines= --bytes= --quiet"), counts=True),
    "tail": Reader(flags="qvz", valued="nc", long=_names("--lines= --bytes= --quiet"), counts=True),
    "wc": Reader(flags="clLmw", long=_names("--lines --words --bytes --chars --max-line-length")),
    "nl": Reader(valued="bdfhilnsvw", flags="p"),
    "tac": Reader(flags="br", valued="s"),
    "cmp": Reader(flags="bls", long=_names("--silent --quiet --verbose --print-bytes")),
    "stat": Reader(
        flags="Lft", valued="c", long=_names("--format= --printf= --dereference --terse")
    ),
    "file": Reader(flags="bhiLN", long=_names("--brief --mime --mime-type --mime-encoding")),
    "du": Reader(
        flags="abchklmsSx",
        valued="d",
        long=_names("--all --human-readable --summarize --max-depth="),
    ),
    "df": Reader(flags="ahHiklPT", long=_names("--human-readable --inodes")),
    "realpath": Reader(flags="emqsz"),
    "readlink": Reader(flags="efmnqsvz"),
    "sha256sum": Reader(flags="btz"),
    "md5sum": Reader(flags="btz"),
    "grep": Reader(
        flags="abcEFGhHiIlLnoPqrRsTUvwxyzZ",
        valued="ABCm",
        long=_names(
            "--recursive --dereference-recursive --ignore-case --line-number --count "
            "--invert-match --word-regexp --line-regexp --files-with-matches --files-without-match "
            "--only-matching --with-filename --no-filename --quiet --silent --no-messages "
            "--text --extended-regexp "
            "--fixed-strings --perl-regexp --color --color= --include= --exclude= --exclude-dir= "
            "--max-count= --context= --before-context= --after-context="
        ),
        operands=Operands.PATTERN_THEN_PATHS,
        counts=True,
    ),
    "find": Reader(
        single_dash=_names(
            "-print -print0 -not -o -a -or -and -empty -readable -writable -executable -mount "
            "-xdev -depth -true -false -ls -prune -name= -iname= -path= -ipath= -wholename= "
            "-regex= -iregex= -type= -size= -mtime= -atime= -ctime= -mmin= -amin= -cmin= "
            "-maxdepth= -mindepth= -user= -group= -perm= -links= -inum="
        ),
    ),
    "pwd": Reader(flags="LP"),
    "true": Reader(),
    "false": Reader(),
    "whoami": Reader(),
    "uname": Reader(flags="asnrvmpio"),
    "id": Reader(flags="ugnGrz", operands=Operands.TEXT),
    "which": Reader(flags="a", operands=Operands.TEXT),
    "basename": Reader(flags="az", valued="s", operands=Operands.TEXT),
    "dirname": Reader(flags="z", operands=Operands.TEXT),
}
"""Program → what it may be given."""

_LITERAL = frozenset({"echo"})
"""Programs to which every word is only text: no option of theirs does more than format it."""

_SYSTEM_DIRECTORIES = ("/bin/", "/usr/bin/")


def pure_read_of(argv: Sequence[str]) -> Read | NotARead:
    """Return the paths that a command reads, or the word because of which it is not on the list."""
    name = _listed_name(argv[0])
    if name in _LITERAL:
        return Read(())
    reader = READERS.get(name)
    if reader is None:
        return NotARead(argv[0], "is not on the list of pure reads")
    found = _operands(reader, argv[1:])
    if isinstance(found, NotARead):
        return found
    if reader.operands is Operands.TEXT:
        return Read(())
    skip = 1 if reader.operands is Operands.PATTERN_THEN_PATHS else 0
    return Read(tuple(word for word in found[skip:] if word != "-"))


def _listed_name(program: str) -> str:
    """Return the name if the program is the image's own, else one that matches nothing."""
    name = program_name(program)
    return name if program == name or program in {d + name for d in _SYSTEM_DIRECTORIES} else ""


def _operands(reader: Reader, words: Sequence[str]) -> list[str] | NotARead:
    """Separate the operands from options that are all listed."""
    operands: list[str] = []
    rest = list(words)
    while rest:
        word = rest.pop(0)
        if word == "--" and not reader.single_dash:
            return operands + rest
        if word == "-" or not word.startswith("-"):
            operands.append(word)
            continue
        takes_next = _accepts(reader, word)
        if takes_next is None or (takes_next and not rest):
            return NotARead(word, "is an option that is not known to only read")
        if takes_next:
            rest.pop(0)
    return operands


def _accepts(reader: Reader, word: str) -> bool | None:
    """Say whether an option takes the next word as its value; None if it is not listed."""
    if reader.single_dash:
        if f"{word}=" in reader.single_dash:
            return True
        return False if word in reader.single_dash and not word.endswith("=") else None
    if word.startswith("--"):
        name, equals, _ = word.partition("=")
        return False if name + equals in reader.long else None
    if reader.counts and word[1:].isdecimal():
        return False
    return _accepts_cluster(reader, word[1:])


def _accepts_cluster(reader: Reader, letters: str) -> bool | None:
    for at, letter in enumerate(letters):
        if letter in reader.valued:
            return at == len(letters) - 1
        if letter not in reader.flags:
            return None
    return False
