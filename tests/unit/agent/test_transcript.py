"""A conversation on disk can be found, read back whole, and gone on with."""

from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest

from luminaguard.agent.resume import resumed
from luminaguard.agent.transcript import Transcript, find_transcript, read_transcript
from luminaguard.agent.wording import NO_END, RESUMED
from luminaguard.domain.calls import ToolCall
from luminaguard.errors import LuminaGuardError
from luminaguard.llm.model import Message, Role
from luminaguard.llm.usage import Usage

CALL = ToolCall(call_id="c1", tool="shell", arguments={"command": "ls", "n": [1, None]})
OTHER = ToolCall(call_id="c2", tool="shell", arguments={})
TALK = (
    Message(role=Role.SYSTEM, text="old prompt"),
    Message(role=Role.USER, text="täsk\n\u2028"),
    Message(role=Role.ASSISTANT, text="", calls=(CALL, OTHER), native='[{"signed": 1}]'),
    Message(role=Role.TOOL, text="result", call_id="c1"),
)
USED = Usage(input_tokens=10, output_tokens=2, cost_usd=Decimal("0.001"))


def write(path: Path, *messages: Message, usage: Usage | None = None) -> None:
    transcript = Transcript(path, lambda: datetime(2026, 1, 1, tzinfo=UTC))
    transcript.begin(workspace="/ws", model="m")
    for message in messages:
        transcript.add(message, usage if message.role is Role.ASSISTANT else None)
    transcript.close()


def test_what_was_written_is_read_back(tmp_path: Path) -> None:
    write(tmp_path / "t.jsonl", *TALK, usage=USED)
    saved = read_transcript(tmp_path / "t.jsonl")
    assert saved.messages == TALK
    assert (saved.workspace, saved.model, saved.usage) == ("/ws", "m", USED)


def test_unknown_costs_stay_unknown(tmp_path: Path) -> None:
    write(tmp_path / "t.jsonl", *TALK, usage=Usage(input_tokens=1, cost_usd=None))
    assert read_transcript(tmp_path / "t.jsonl").usage.cost_usd is None


@pytest.mark.parametrize("cut", [1, 20, 60])
def test_a_line_that_a_crash_cut_short_is_left_out(tmp_path: Path, cut: int) -> None:
    file = tmp_path / "t.jsonl"
    write(file, *TALK)
    file.write_bytes(file.read_bytes()[:-cut])
    assert read_transcript(file).messages == TALK[:-1]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"not json\n",
        b"[]\n",
        b'{"kind": "begin", "version": 9}\n',
        b'{"kind": "x"}\n',
        b"\xff\n",
    ],
)
def test_a_file_that_is_no_transcript_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "t.jsonl").write_bytes(content)
    with pytest.raises(LuminaGuardError, match="cannot be gone on with"):
        read_transcript(tmp_path / "t.jsonl")


def test_a_transcript_is_found_by_the_beginning_of_its_name(tmp_path: Path) -> None:
    for name in ("session-aa", "session-ab", "session-a"):
        write(tmp_path / f"{name}.jsonl")
    assert find_transcript(tmp_path, "session-ab").stem == "session-ab"
    assert find_transcript(tmp_path, "session-a").stem == "session-a"
    for name in ("session", "", "nobody"):
        with pytest.raises(LuminaGuardError, match=f"of a session {name!r}"):
            find_transcript(tmp_path, name)


def test_going_on_answers_every_open_call_and_says_what_is_lost() -> None:
    found = resumed(TALK, "new prompt")
    assert found == [
        Message(role=Role.SYSTEM, text="new prompt"),
        *TALK[1:],
        Message(role=Role.TOOL, text=NO_END, call_id="c2"),
        Message(role=Role.USER, text=RESUMED),
    ]


def test_open_calls_in_the_middle_are_answered_where_they_belong() -> None:
    later = Message(role=Role.USER, text="go on")
    found = resumed((*TALK, later), "p")
    assert [message.role for message in found[-4:]] == [Role.TOOL, Role.TOOL, Role.USER, Role.USER]
