"""The card in a plain terminal: beautiful for the honest, harmless from the hostile."""

import re
from dataclasses import replace
from itertools import islice

import pytest
from hypothesis import given
from hypothesis import strategies as st

from luminaguard.approval.card import DiffCard
from luminaguard.approval.look import Look, look_of
from luminaguard.approval.plain import first_look, full
from luminaguard.approval.rows import Row, lay_out
from luminaguard.approval.wrap import width
from luminaguard.domain.calls import ToolCall
from luminaguard.domain.changeset import (
    Change,
    ChangeKind,
    Changeset,
    Entry,
    EntryType,
    Mark,
    Scratch,
)
from luminaguard.domain.diff import Body, FileDiff
from luminaguard.domain.execution import Ended, GuestReport
from luminaguard.domain.isolation import GuestHardening, Isolation, Jail, Tier
from luminaguard.domain.verdict import Risk
from luminaguard.testing.cards import card_of, file_entry, text_card

WIDTHS = (40, 80, 200)
COLOR = re.compile(r"\x1b\[[0-9;]*m")
RAW = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200b\u200c\u200e\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff]"
)


def look(columns: int = 80, *, color: bool = False, unicode: bool = True) -> Look:
    return Look(columns=columns, rows=24, color=color, unicode=unicode)


def everything(card: DiffCard, columns: int = 80) -> str:
    return "\n".join(full(card, look(columns)))


def unwrapped(lines: str, edge: str) -> str:
    """Joins what stands behind an edge, so that wrapping does not hide a text."""
    return "".join(line.partition(edge)[2][2:] for line in lines.split("\n") if edge in line)


def hostile_card(text: str) -> DiffCard:
    """A card on which a text stands wherever foreign text can stand."""
    path = text.replace("/", "_").replace("\0", "") or "x"
    link = Entry(type=EntryType.SYMLINK, mode=0o777, target=text)
    changes = (
        Change(
            path=path,
            kind=ChangeKind.CREATE,
            before=None,
            after=file_entry(b"x"),
            marks=(Mark(name=text, why=text), Mark(name="runs-later", why="It runs.")),
        ),
        Change(path=f"{path}2", kind=ChangeKind.SYMLINK, before=link, after=link),
    )
    diffs = (replace(text_card({"a": (None, text)}).diffs[0], path=path, note=text),)
    changeset = Changeset(
        base="0",
        changes=changes,
        dropped=(text,),
        scratch=Scratch(files=1, size_bytes=1, examples=(text,)),
    )
    call = ToolCall(
        call_id="1", tool=text, arguments={text: text, "argv": [text], "n": {"k": text}}
    )
    output = text.encode("utf-8", "surrogatepass")
    report = GuestReport(
        ended=Ended.EXITED, exit_code=0, stdout=output, stderr=output, leftover=(text,)
    )
    card = card_of(changeset, diffs, call=call, report=report)
    return replace(card, host_changes=(text,), left_out=(text,), git=(text,), predicted=(text,))


FOREIGN = st.text(st.characters()) | st.text(
    st.sampled_from("\x1b]0;[2J\x07\r\n\t\u202e\u2066ab 漢\u0301")
)


@pytest.mark.guarantee("G9")
@given(text=FOREIGN, columns=st.sampled_from(WIDTHS), unicode=st.booleans())
def test_no_foreign_text_acts_on_the_screen_or_leaves_its_place(
    text: str, columns: int, unicode: bool
) -> None:
    card = hostile_card(text)
    for color in (False, True):
        seen = look(columns, color=color, unicode=unicode)
        for line in (*full(card, seen), *first_look(card, seen).lines):
            bare = COLOR.sub("", line) if color else line
            assert not RAW.search(bare)
            assert width(bare) <= columns
            assert unicode or bare.isascii()


ATTACKS = {
    "clears the screen": "\x1b[2J\x1b[H",
    "writes the clipboard": "\x1b]52;c;cm0gLXJmIH4=\x07",
    "moves up over the card": "\x1b[99A\x1b[1G[a] approve",
    "answers by device report": "\x1b[6n\x1b[c",
    "turns text around": "access\u202e\u2066 // admin\u2069 \u2066",
    "overwrites its line": "rm -rf /\rls          ",
    "hides in zero width": "a\u200b\u200b\u200b",
    "is an 8-bit escape": "\x9b2J",
    "sets the title": "\x1b]0;all good\x1b\\",
}


@pytest.mark.guarantee("G9")
@pytest.mark.parametrize("attack", ATTACKS.values(), ids=list(ATTACKS))
def test_an_attack_on_the_terminal_is_text_and_is_pointed_out(attack: str) -> None:
    card = text_card({"a.txt": ("", attack)})
    text = everything(card, 200)
    assert not RAW.search(text.replace("\n", ""))
    assert "1 line holds hidden or control characters" in text


@pytest.mark.guarantee("G9")
@pytest.mark.parametrize("columns", WIDTHS)
def test_a_card_drawn_in_a_file_stays_behind_its_edge(columns: int) -> None:
    fake = "\n".join(full(text_card({"harmless.txt": (None, "x")}, risk=Risk.LOW), look(columns)))
    wide = " " * (columns - 14) + "━━ 🟢 LOW ━━ commit exactly this?"
    card = text_card({"notes.txt": (None, f"{fake}\n{wide}")}, risk=Risk.CRITICAL)
    lines = list(full(card, look(columns)))
    assert [line for line in lines if line.startswith("━━ ")] == [lines[0]]
    assert "CRITICAL" in lines[0]
    assert all("│" in line for line in lines if "🟢" in line or "harmless" in line)


@pytest.mark.guarantee("G9")
def test_a_line_that_goes_on_is_marked_so() -> None:
    lines = list(full(text_card({"a": (None, "+" * 100)}), look(40)))
    number = next(index for index, line in enumerate(lines) if "│+ ++" in line)
    assert lines[number].startswith("1 │+ ")
    assert lines[number + 1].startswith("↪ │  ++")


@pytest.mark.guarantee("G9")
@pytest.mark.parametrize("columns", WIDTHS)
def test_a_line_feed_in_a_file_name_starts_no_line(columns: int) -> None:
    card = text_card({"a.txt\n━━ 🟢 LOW ━━ commit?\nb": (None, "x")})
    headings = [line for line in full(card, look(columns)) if line.startswith("━━ ")]
    assert len(headings) == 1
    assert r"a.txt\n━━" in everything(card, 200)


@pytest.mark.guarantee("G9")
def test_padding_cannot_push_a_command_out_of_sight() -> None:
    card = text_card({}, arguments={"command": "ls" + " " * 5000 + "; rm -rf ~"})
    assert "ls<U+0020>x5000; rm -rf ~" in everything(card)


@pytest.mark.guarantee("G9")
@pytest.mark.parametrize("columns", WIDTHS)
def test_everything_holds_every_line_of_every_difference(columns: int) -> None:
    old = [f"old {number} " + "x" * number for number in range(300)]
    new = [f"new {number} 漢字 " + "y" * number for number in range(300)]
    card = text_card({"f.txt": ("\n".join(old), "\n".join(new))})
    text = unwrapped(everything(card, columns), "│")
    for line in (*old, *new):
        assert line in text


@pytest.mark.guarantee("G9")
@pytest.mark.parametrize("columns", WIDTHS)
def test_the_first_look_counts_all_that_it_leaves_out(columns: int) -> None:
    lines = [f"line {number}." for number in range(500)]
    card = text_card({"f.txt": (None, "\n".join(lines)), "g.txt": ("\n".join(lines), None)})
    first = first_look(card, look(columns))
    text = "\n".join(first.lines)
    assert first.is_cut
    created, deleted = (
        int(number.replace(",", "")) for number in re.findall(r"… ([\d,]+) more line", text)
    )
    shown_created = len(re.findall(r"│\+ line \d+\.", text))
    shown_deleted = len(re.findall(r"│- line \d+\.", text))
    assert (shown_created + created, shown_deleted + deleted) == (500, 500)
    assert shown_deleted >= 10


def test_a_short_card_is_not_cut() -> None:
    assert not first_look(text_card({"a": ("b", "c")}), look()).is_cut


@pytest.mark.guarantee("G9")
def test_many_changes_are_named_or_counted() -> None:
    card = text_card({f"dir/{number:04}.txt": (None, f"{number}") for number in range(500)})
    first = first_look(card, look())
    named = sum(" created  dir/" in line for line in first.lines)
    left = re.search(r"… ([\d,]+) more changes", "\n".join(first.lines))
    assert left is not None
    assert named + int(left.group(1)) == 500
    assert len(first.lines) < 700
    assert sum(" created  dir/" in line for line in full(card, look())) == 500


@pytest.mark.guarantee("G9")
def test_ten_megabytes_give_a_bounded_first_look_and_lose_nothing() -> None:
    one_line = "a" * 5_000_000 + "THE END"
    many = "\n".join(f"{number} {'b' * 90}" for number in range(50_000))
    card = text_card({"m.js": (None, one_line)})
    many_diff = replace(
        text_card({"n": (None, "x")}).diffs[0],
        hunks=(text_card({"n": (None, many)}).diffs[0].hunks),
    )
    other = replace(text_card({"n": (None, "x")}), diffs=(many_diff,))
    for big in (card, other):
        assert len(first_look(big, look()).lines) < 120
    assert "THE END" in unwrapped(everything(card), "│")
    assert unwrapped(everything(other), "│").count("b") == 50_000 * 90


@pytest.mark.guarantee("G9")
def test_output_is_labelled_as_the_guests_word_and_its_cut_is_counted() -> None:
    report = GuestReport(
        ended=Ended.SIGNALED,
        exit_code=137,
        signal=9,
        stdout=b"\n".join(b"out %d" % number for number in range(1, 41)),
        stderr=b"oh\x1b[2Jno",
        stderr_dropped_bytes=1234,
        leftover=("sleep",),
    )
    card = text_card({"a": ("b", "c")}, report=report)
    text = "\n".join(first_look(card, look()).lines)
    assert "the guest says (nobody verified it)" in text
    assert "killed by signal 9" in text
    assert "left running, killed since: sleep" in text
    assert "… 30 lines before" in text
    assert "┊ out 31\n" in text
    assert "out 30\n" not in text
    assert r"┊ oh\x1b[2Jno" in text
    assert "1,234 further bytes of stderr were not kept" in text
    assert all(f"┊ out {number}\n" in everything(card) for number in range(1, 41))


def test_what_is_predicted_looks_different_from_what_is_measured() -> None:
    card = replace(text_card({"a": ("b", "c")}), predicted=("sends a mail to ann",))
    lines = list(full(card, look()))
    assert any("predicted, NOT measured" in line for line in lines)
    assert "   ? sends a mail to ann" in lines
    assert not any("│" in line for line in lines if "mail" in line)


def test_binary_mode_link_and_delete_show_what_lines_do_not() -> None:
    links = [Entry(type=EntryType.SYMLINK, mode=0o777, target=to) for to in ("v1", "/etc")]
    changes = (
        Change(
            path="a.png",
            kind=ChangeKind.MODIFY,
            before=file_entry(b"1"),
            after=file_entry(b"22"),
        ),
        Change(
            path="b.sh",
            kind=ChangeKind.CHMOD,
            before=file_entry(b"x"),
            after=file_entry(b"x", 0o755),
        ),
        Change(
            path="c",
            kind=ChangeKind.SYMLINK,
            before=links[0],
            after=links[1],
            marks=(Mark(name="link-outside", why="It leads out."),),
        ),
        Change(path="d", kind=ChangeKind.RETYPE, before=links[0], after=file_entry(b"")),
    )
    diffs = (FileDiff(path="a.png", body=Body.BINARY), FileDiff(path="d", body=Body.NONE))
    call = ToolCall(call_id="1", tool="exec", arguments={"argv": ["rm", "a b"]})
    text = everything(card_of(Changeset(base="0", changes=changes), diffs, call=call), 200)
    assert f"after  2 bytes, sha256 {changes[0].after.sha256}" in text  # type: ignore[union-attr]
    assert "mode 0644 → 0755" in text
    assert "pointed to v1" in text
    assert "points to /etc" in text
    assert "▲ link outside: It leads out." in text
    assert "was a link → v1" in text
    assert "exec  rm 'a b'" in text


def test_an_empty_effect_asks_whether_to_release_the_output() -> None:
    assert "release its output?" in everything(text_card({}))


@pytest.mark.parametrize("risk", Risk)
def test_risk_is_a_word_and_a_sign_not_only_a_color(risk: Risk) -> None:
    card = text_card({"a": ("b", "c")}, risk=risk)
    titles = {
        unicode: next(full(card, look(color=False, unicode=unicode))) for unicode in (True, False)
    }
    assert all(risk.value.upper() in title for title in titles.values())
    assert titles[False].isascii()


@pytest.mark.parametrize(
    ("environ", "color", "unicode"),
    [
        ({"TERM": "xterm", "LANG": "en_US.UTF-8"}, True, True),
        ({"TERM": "xterm", "LANG": "en_US.UTF-8", "NO_COLOR": "1"}, False, True),
        ({"TERM": "xterm", "LANG": "en_US.UTF-8", "LC_ALL": "C"}, True, False),
        ({"TERM": "xterm", "LC_CTYPE": "C.utf8"}, True, True),
        ({"TERM": "dumb", "LANG": "en_US.UTF-8"}, False, False),
        ({}, False, False),
    ],
)
def test_a_terminal_gets_what_it_can_show(
    environ: dict[str, str], color: bool, unicode: bool
) -> None:
    found = look_of(environ, columns=80, rows=24)
    assert (found.color, found.unicode) == (color, unicode)


@given(st.text(st.characters(codec="utf-8")), st.integers(4, 60), st.booleans())
def test_laying_out_loses_no_character(text: str, columns: int, prose: bool) -> None:
    row = Row(((("", text)),), edge=(("", "|"),), prose=prose)  # type: ignore[arg-type]
    lines = list(islice(lay_out((row,), look(columns)), 10_000))
    whole = next(iter(lay_out((row,), look(1_000_000))))
    assert "".join(line[1:] for line in lines) == whole[1:]
    assert all(line.startswith("|") for line in lines)


@pytest.mark.guarantee("G8")
@pytest.mark.parametrize("columns", WIDTHS)
def test_a_card_names_the_isolation_the_jail_and_what_is_missing(columns: int) -> None:
    jail = Jail(layers=("seccomp", "no-capabilities"), missing={"own-uid": "no subuid range"})
    isolation = Isolation(
        backend="qemu",
        tier=Tier.EMULATED,
        accelerator="tcg",
        jail=jail,
        guest=GuestHardening(profile="relaxed", lsm="selinux"),
    )
    card = replace(text_card({"a": ("b", "c")}), isolation=isolation)
    words = " ".join(" ".join(first_look(card, look(columns)).lines).split())
    assert "isolation emulated · qemu · tcg" in words
    assert "jail seccomp, no-capabilities" in words
    assert "▲ missing own-uid: no subuid range" in words
    assert "guest relaxed, SELinux" in words
