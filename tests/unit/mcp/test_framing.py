"""Bytes of a server become messages, or the end of the connection."""

import contextlib
import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from luminaguard.errors import McpAnswerBroken
from luminaguard.mcp.limits import Limits
from luminaguard.mcp.secret import Secret, shown
from luminaguard.mcp.servers import StdioServer
from luminaguard.mcp.transports.framing import MOST_OPEN, MOST_STRAY_LINES, Ledger, Lines, Reader
from luminaguard.mcp.transports.hostprocess import Tail, environment_of
from luminaguard.mcp.transports.rate import Allowance


def reader(most_bytes: int = 10_000, per_s: int = 100) -> Reader:
    limits = Limits(answer_bytes=most_bytes, heard_bytes_per_s=per_s)
    return Reader(limits=limits, now=lambda: 0.0)


def answer(message_id: object, **fields: object) -> bytes:
    return json.dumps({"jsonrpc": "2.0", "id": message_id, "result": {}, **fields}).encode() + b"\n"


NOTE = b'{"jsonrpc":"2.0","method":"notifications/message"}\n'


@given(st.lists(st.binary(max_size=20).filter(lambda line: b"\n" not in line)), st.data())
def test_lines_come_out_whole_however_they_arrive(lines: list[bytes], data: st.DataObject) -> None:
    stream = b"".join(line + b"\n" for line in lines)
    cut, found = Lines(100), list[bytes]()
    while stream:
        size = data.draw(st.integers(1, len(stream)))
        found += cut.feed(stream[:size])
        stream = stream[size:]
    assert found == lines


def test_a_line_may_be_as_long_as_allowed_and_no_longer() -> None:
    assert Lines(5).feed(b"12345\n") == [b"12345"]
    with pytest.raises(McpAnswerBroken):
        Lines(5).feed(b"123456\n")


def test_a_line_that_never_ends_is_cut_off_before_it_is_kept() -> None:
    lines = Lines(1000)
    for _ in range(5):
        assert lines.feed(b"x" * 200) == []
    with pytest.raises(McpAnswerBroken):
        lines.feed(b"x")


def test_an_answer_to_a_question_comes_through() -> None:
    one = reader()
    one.ledger.asked(7)
    assert len(list(one.feed(answer(7)))) == 1


def test_an_answer_with_its_id_as_text_is_the_same_answer() -> None:
    one = reader()
    one.ledger.asked(7)
    assert len(list(one.feed(answer("7")))) == 1


@pytest.mark.parametrize("message_id", [1, "x", 10**30, -1])
def test_an_answer_that_nobody_asked_for_ends_the_connection(message_id: object) -> None:
    one = reader()
    one.ledger.asked(7)
    with pytest.raises(McpAnswerBroken):
        list(one.feed(answer(message_id)))


def test_a_second_answer_ends_the_connection_and_the_first_one_counts() -> None:
    one = reader()
    one.ledger.asked(7)
    found = []
    with pytest.raises(McpAnswerBroken):
        found.extend(one.feed(answer(7) + answer(7)))
    assert len(found) == 1


def test_an_error_without_an_id_is_nobody_s_answer() -> None:
    text = b'{"jsonrpc":"2.0","id":null,"error":{"code":-32700,"message":"x"}}\n'
    assert len(list(reader().feed(text))) == 1


def test_a_greeting_before_the_protocol_is_passed_over() -> None:
    assert len(list(reader().feed(b"Welcome!\n\n  \n" + NOTE))) == 1


def test_endless_chatter_beside_the_protocol_ends_the_connection() -> None:
    with pytest.raises(McpAnswerBroken):
        list(reader().feed(b"hello\n" * (MOST_STRAY_LINES + 1)))


@pytest.mark.parametrize("line", [b"{", b"[]", b'{"jsonrpc":"1.0"}', b"[" * 5000, b'{"id":1}'])
def test_json_that_is_no_message_ends_the_connection(line: bytes) -> None:
    with pytest.raises(McpAnswerBroken):
        list(reader().feed(line + b"\n"))


def test_a_flood_of_notifications_ends_the_connection() -> None:
    with pytest.raises(McpAnswerBroken, match="unasked"):
        list(reader(most_bytes=1000).feed(NOTE * 100))


def test_answers_do_not_count_as_a_flood() -> None:
    one = reader(most_bytes=1000)
    for number in range(100):
        one.ledger.asked(number)
        assert len(list(one.feed(answer(number)))) == 1


def test_questions_without_an_answer_are_forgotten_in_the_end() -> None:
    ledger = Ledger()
    for number in range(MOST_OPEN + 5):
        ledger.asked(number)
    assert not ledger.answered(0)
    assert ledger.answered(MOST_OPEN)


@given(st.lists(st.binary(max_size=300)))
def test_whatever_a_server_says_is_messages_or_the_end(chunks: list[bytes]) -> None:
    one = reader(most_bytes=200)
    with contextlib.suppress(McpAnswerBroken):
        for chunk in chunks:
            for message in one.feed(chunk):
                assert message.message.jsonrpc == "2.0"


MESSAGES = st.fixed_dictionaries(
    {"jsonrpc": st.just("2.0")},
    optional={
        "id": st.none() | st.integers() | st.text() | st.booleans() | st.lists(st.integers()),
        "method": st.text() | st.integers(),
        "params": st.none() | st.dictionaries(st.text(), st.integers()) | st.lists(st.integers()),
        "result": st.none() | st.dictionaries(st.text(), st.text()) | st.integers(),
        "error": st.none() | st.dictionaries(st.text(), st.text() | st.integers()),
    },
)


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(st.lists(MESSAGES, max_size=6))
def test_no_shape_of_a_message_gets_past_the_ledger(messages: list[dict[str, object]]) -> None:
    one = reader()
    one.ledger.asked(1)
    answered = 0
    with contextlib.suppress(McpAnswerBroken):
        for message in messages:
            for found in one.feed(json.dumps(message).encode() + b"\n"):
                answered += getattr(found.message, "id", None) == 1 and hasattr(
                    found.message, "result"
                )
    assert answered <= 1


def test_an_allowance_fills_with_time_but_not_over_its_brim() -> None:
    one = Allowance(per_s=10, at_once=20, at_s=0.0)
    assert one.take(20, 0.0)
    assert not one.take(1, 0.0)
    assert one.take(10, 1.0)
    assert not one.take(21, 100.0)
    assert one.take(20, 100.0)


def test_of_what_was_said_the_end_is_kept() -> None:
    tail = Tail(5)
    for chunk in (b"abc", b"def", b"\xffg"):
        tail.write(chunk)
    assert tail.text == "def\ufffdg"


def test_a_process_gets_path_and_what_is_named() -> None:
    server = StdioServer(name="x", command="x", env={"A": Secret("b")})
    host = {"PATH": "/bin", "HOME": "/root", "AWS_SECRET": "x"}
    assert environment_of(server, host) == {"PATH": "/bin", "A": "b"}


def test_secrets_are_taken_out_of_what_servers_say() -> None:
    secrets = [Secret("Bearer abcdef"), Secret("xyz1")]
    said = shown("no: abcdef, Bearer abcdef, xyz1\n", secrets)
    assert said == "no: [secret], [secret], [secret]\\n"
