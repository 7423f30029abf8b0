"""What the table says of one program, or of one subcommand of it."""

from dataclasses import dataclass, field, replace
from enum import StrEnum


class Operands(StrEnum):
    """What the words that are not options mean."""

    PATHS = "paths"
    TEXT = "text"
    NONE = "none"
    PATTERN = "pattern"
    """The first is a pattern, unless an option gave one; then paths."""
    SED = "sed"
    """The first is a sed script, unless an option gave one; then paths."""
    AWK = "awk"
    JQ = "jq"
    YQ = "yq"
    TEXT_THEN_PATHS = "text-then-paths"
    LITERAL = "literal"
    """Every word is only text, whatever it begins with."""
    TEST = "test"
    """An expression of `test`, which reads nothing but whether files exist."""


class Reads(StrEnum):
    """What a program shows of the paths that it is given."""

    CONTENT = "content"
    NAMES = "names"
    """Names, sizes, kinds, counts: nothing of what is inside."""
    NOTHING = "nothing"


class Value(StrEnum):
    """What follows an option."""

    NONE = ""
    TEXT = "="
    OPTIONAL = "?"
    """Only attached to it."""
    PATH = "=@"
    """A file that is read."""
    SCRIPT = "=s"
    """A script in the language of the operands."""
    TWO = "=="
    TWO_PATH = "==@"
    """Two words, the second names a file that is read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """How one program is read."""

    name: str
    """Words that call it: `ls`, `git log`."""
    options: dict[str, Value] = field(default_factory=dict[str, Value])
    """Option, with its dashes → what follows it."""
    refused: dict[str, str] = field(default_factory=dict[str, str])
    """Option that is known to be no read → what it does: `writes`, `runs`, `reaches`, `lists`."""
    operands: Operands = Operands.PATHS
    reads: Reads = Reads.CONTENT
    inert: bool = False
    """No option of it writes, runs or reaches anything: what could become one does not matter."""
    whole: bool = False
    """Options are whole words with one dash, like those of find and java."""
    bundle: bool = False
    """The first word holds options even without a dash, like those of tar."""
    counts: bool = False
    """`-5` is an option too."""
    plus: bool = False
    """`+5` is an option too."""
    most: int = 10_000
    """Operands that it may have: with more, some programs write to the last."""
    frees: frozenset[str] = frozenset()
    """Options with which it only lists: `most` does not apply, and nothing wrapped is run."""
    least: int = 0
    """Operands that it must have: with fewer, some programs show or do everything."""
    each: str = ""
    """A regular expression that each operand must match; compiled when first needed."""
    files: str = ""
    """A regular expression for values that name files: some programs take `host:path`."""
    needs: frozenset[str] = frozenset()
    """Options of which one must be there for it to be a read."""
    gives: frozenset[str] = frozenset()
    """Options that give the pattern or script, so that all operands are paths."""
    recursive: frozenset[str] = frozenset()
    """Options with which it reads whole trees; `always` if it always does."""
    wraps: int = -1
    """It runs a command that follows this many operands; -1 if it runs none."""
    assigns: bool = False
    """Assignments may come before the wrapped command."""
    subcommands: bool = False
    """Its first operand is a subcommand, listed as a program of its own."""
    bare: bool = True
    """It is a read of its own, without a subcommand."""
    safe: tuple[str, ...] = ()
    ask: tuple[str, ...] = ()
    """Examples, which are checked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Effect:
    """What programs that are no pure reads are known to do."""

    rule: str
    risk: str
    why: str
    changes: str = ""
    reaches: str = ""
    rehearsed: bool = True
    """A rehearsal shows all of it."""
    instead: str = ""


@dataclass(frozen=True, slots=True)
class Table:
    """All that is known of programs."""

    programs: dict[str, Program]
    """Words that call it → how it is read."""
    aliases: dict[str, str]
    """Other words that call it → those that it is listed under."""
    effects: dict[str, Effect]
    """Words that call it → what it does."""
    parents: frozenset[str]
    """Words that a subcommand follows."""
    versioned: frozenset[str]
    """Programs that may be asked for their version or help."""

    def find(self, name: str) -> Program | None:
        """Return how a program or subcommand is read; None if it is not listed."""
        listed = self.aliases.get(name)
        known = self.programs.get(name if listed is None else listed)
        if name not in self.parents:
            return known if listed is None or known is None else replace(known, name=name)
        known = known or Program(name=name, bare=False)
        return replace(known, name=name, subcommands=True)

    @property
    def names(self) -> list[str]:
        """Every name that calls something listed, sorted."""
        return sorted({*self.programs, *self.aliases})
