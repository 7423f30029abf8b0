"""Tools that take any query of a database: what they do stands in the call only."""

from collections.abc import Iterator, Mapping

from luminaguard.domain.calls import JsonValue
from luminaguard.policy.findings import shown
from luminaguard.policy.mcp.evidence import CODE, Evidence
from luminaguard.policy.mcp.lexicon import lexicon
from luminaguard.policy.mcp.names import words_of
from luminaguard.policy.mcp.sql import why_not_a_read

_READ_CHARS = 16_384


def is_any_query(tool: str, description: str) -> bool:
    """Say whether a tool is named like one for any statement, or says that it is one."""
    known = lexicon()
    spelled = (words_of(tool), words_of(tool.lower()))  # "gRaPhQl" is a word, too
    if any(words and known.any_query.issuperset(words) for words in spelled):
        return True
    return known.any_query_prose.search(description[:_READ_CHARS].lower()) is not None


def judge_statement(tool: str, arguments: Mapping[str, JsonValue]) -> Iterator[Evidence]:
    """Yield one unless the call brings a statement, and each that it brings is a known read."""
    fields = lexicon().any_query_fields
    given = [
        value
        for name, value in arguments.items()
        if "_".join(words_of(name)) in fields and isinstance(value, str) and value.strip()
    ]
    if not given or any(why_not_a_read(statement) for statement in given):
        why = f"{shown(tool)} takes any query, and this call brings none that is known to only read"
        yield Evidence(means=CODE, deciding=tool, why=why)
