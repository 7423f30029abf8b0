"""A tool for any query is red until its call brings a statement that is known to read."""

import pytest

from luminaguard.domain.verdict import Lane
from mcptools import LYING, judged

TEXT = "Query a D1 database."


@pytest.mark.guarantee("G5")
@pytest.mark.parametrize(
    "arguments", [{}, {"sql": ""}, {"sql": "drop table a"}, {"database_id": "x"}, {"query": "all"}]
)
@pytest.mark.parametrize("hints", [{}, LYING])
def test_any_query_without_a_known_read_is_asked_about(
    arguments: dict[str, str], hints: dict[str, bool]
) -> None:
    verdict = judged("d1_database_query", description=TEXT, annotations=hints, arguments=arguments)
    assert verdict.lane is Lane.RED


def test_a_select_of_a_tool_for_any_query_runs_unasked() -> None:
    arguments = {"database_id": "x", "sql": "select a from b"}
    verdict = judged("d1_database_query", description=TEXT, annotations=LYING, arguments=arguments)
    assert verdict.lane is Lane.GREEN, verdict.reasons
