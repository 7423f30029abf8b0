"""What is sent again, when, and what is said instead."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mcp.shared.exceptions import MCPError
from mcp_types import Tool
from pydantic import TypeAdapter, ValidationError

from luminaguard import errors
from luminaguard.errors import (
    McpAnswerBroken,
    McpAuthError,
    McpConnectionLost,
    McpError,
    McpRefused,
    McpSessionLost,
    McpTimedOut,
    McpToolsChanged,
    McpUnavailable,
    McpUnreachable,
    OutcomeUnknown,
)
from luminaguard.mcp.exchange import Exchange
from luminaguard.mcp.failures import failure
from luminaguard.mcp.pins import difference, digest, pins_of
from luminaguard.mcp.retry import Backoff, asked_s, final, may_help, may_repeat
from luminaguard.mcp.secret import Secret
from luminaguard.mcp.transports.retryafter import retry_after_s

UNSENT = [McpUnreachable("x"), McpSessionLost("x")]
DOUBTFUL = [McpUnavailable("x"), McpTimedOut("x"), McpConnectionLost("x"), McpAnswerBroken("x")]
ANSWERS = [McpRefused("x"), McpAuthError("x"), McpToolsChanged("x"), McpError("x")]


@pytest.mark.parametrize("error", UNSENT, ids=lambda error: error.code)
def test_what_was_not_sent_is_sent_again_in_any_case(error: McpError) -> None:
    assert may_repeat(error, safe_to_retry=False)
    assert final(error, "it", safe_to_retry=False) is error


@pytest.mark.parametrize("error", DOUBTFUL, ids=lambda error: error.code)
def test_what_may_have_been_done_is_sent_again_only_if_that_is_safe(error: McpError) -> None:
    assert may_repeat(error, safe_to_retry=True)
    assert not may_repeat(error, safe_to_retry=False)
    assert isinstance(final(error, "it", safe_to_retry=False), OutcomeUnknown)
    assert final(error, "it", safe_to_retry=True) is error


@pytest.mark.parametrize("error", ANSWERS, ids=lambda error: error.code)
def test_an_answer_is_not_asked_for_again(error: McpError) -> None:
    assert not may_help(error)
    assert not may_repeat(error, safe_to_retry=True)
    assert final(error, "it", safe_to_retry=False) is error


def test_every_error_of_a_server_is_sorted() -> None:
    kinds = {
        kind
        for kind in vars(errors).values()
        if isinstance(kind, type) and issubclass(kind, McpError) and kind is not OutcomeUnknown
    }
    assert kinds == {type(error) for error in UNSENT + DOUBTFUL + ANSWERS}


@given(st.integers(1, 1000), st.floats(0, 1, exclude_max=True))
def test_waits_grow_to_a_limit_and_are_spread_over_all_of_it(attempt: int, jitter: float) -> None:
    wait_s = Backoff(first_s=0.1, longest_s=5.0).wait_s(attempt, None, jitter)
    assert wait_s is not None
    assert wait_s == pytest.approx(min(5.0, 0.1 * 2.0 ** min(attempt - 1, 60)) * jitter)


def test_a_server_is_never_asked_before_it_wants_to_be() -> None:
    for jitter in (0.0, 0.5, 0.99):
        assert (Backoff().wait_s(1, 3.0, jitter) or 0) >= 3.0


def test_a_server_that_wants_ages_is_not_waited_for() -> None:
    assert Backoff(longest_asked_s=60).wait_s(1, 61.0, 0.5) is None


NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("3", 3.0),
        (" 0 ", 0.0),
        ("1.5", 1.5),
        ("Thu, 01 Jan 2026 00:01:00 GMT", 60.0),
        ("Wed, 31 Dec 2025 00:00:00 GMT", 0.0),
        ("", None),
        ("-1", None),
        ("nan", None),
        ("inf", None),
        ("soon", None),
        ("Thu, 99 Jan 2026 00:01:00 GMT", None),
    ],
)
def test_the_time_that_a_server_asks_for(text: str, seconds: float | None) -> None:
    assert retry_after_s(text, NOW) == seconds


@given(st.text())
def test_no_text_of_a_header_breaks_anything(text: str) -> None:
    found = retry_after_s(text)
    assert found is None or found >= 0


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (401, McpAuthError),
        (403, McpAuthError),
        (408, McpUnavailable),
        (429, McpUnavailable),
        (500, McpUnavailable),
        (503, McpUnavailable),
        (599, McpUnavailable),
        (400, McpRefused),
        (404, McpRefused),
    ],
)
def test_a_status_says_what_failed(status: int, kind: type[McpError]) -> None:
    found = failure(MCPError(-32603, "x"), Exchange(status=status, retry_after_s=2.0), "s")
    assert type(found) is kind
    assert asked_s(found) == (2.0 if kind is McpUnavailable else None)


def test_a_status_404_within_a_session_means_the_session_is_gone() -> None:
    exchange = Exchange(status=404, in_session=True)
    assert type(failure(MCPError(-32600, "x"), exchange, "s")) is McpSessionLost


def test_being_turned_away_is_no_unknown_outcome() -> None:
    error = failure(MCPError(-32603, "x"), Exchange(status=429), "s")
    assert final(error, "it", safe_to_retry=False) is error
    assert not may_repeat(error, safe_to_retry=False)


def test_a_server_cannot_pass_its_own_error_off_as_a_lost_connection() -> None:
    assert type(failure(MCPError(-32000, "I failed"), Exchange(), "s")) is McpRefused
    assert type(failure(MCPError(-32000, "Connection closed"), Exchange(), "s")) is (
        McpConnectionLost
    )


def test_what_is_known_of_a_request_comes_before_what_the_sdk_makes_of_it() -> None:
    known = McpUnreachable("nobody there")
    assert failure(MCPError(-32000, "x"), Exchange(failure=known, status=200), "s") is known


def test_secrets_and_escapes_are_taken_out_of_errors() -> None:
    error = failure(MCPError(-1, "bad token abcdef\x1b[2J"), Exchange(), "s", [Secret("abcdef")])
    assert str(error) == "s: bad token [secret]\\x1b[2J"


def test_errors_in_groups_are_found() -> None:
    group = ExceptionGroup("x", [ExceptionGroup("y", [TimeoutError()])])
    assert type(failure(group, Exchange(), "s")) is McpTimedOut


def test_an_answer_of_the_wrong_shape_is_broken_and_not_repeated_to_people() -> None:
    with pytest.raises(ValidationError) as wrong:
        TypeAdapter(int).validate_python("s3cret")
    found = failure(wrong.value, Exchange(), "s")
    assert type(found) is McpAnswerBroken
    assert "s3cret" not in str(found)


def tool(**fields: object) -> Tool:
    return Tool.model_validate({"name": "a", "inputSchema": {"type": "object"}, **fields})


@pytest.mark.parametrize(
    "change",
    [
        {"description": "y"},
        {"title": "y"},
        {"inputSchema": {"type": "object", "required": ["x"]}},
        {"outputSchema": {"type": "object"}},
        {"annotations": {"readOnlyHint": True}},
        {"_meta": {"x": 1}},
    ],
)
def test_whatever_changes_about_a_tool_changes_its_digest(change: dict[str, object]) -> None:
    assert digest(tool(**change)) != digest(tool())


def test_pins_say_what_is_new_gone_and_changed() -> None:
    was = pins_of([tool(), tool(name="b"), tool(name="c")])
    now = pins_of([tool(), tool(name="b", description="!"), tool(name="d")])
    found = difference(was, now)
    assert (found.added, found.removed, found.changed) == (("d",), ("c",), ("b",))
    assert not difference(was, dict(was))


def test_once_anything_came_back_a_request_counts_as_sent() -> None:
    for exchange in (Exchange(status=200), Exchange(begun=True)):
        assert type(exchange.note(McpUnreachable("later"))) is McpConnectionLost
    assert type(Exchange().note(McpUnreachable("at once"))) is McpUnreachable
