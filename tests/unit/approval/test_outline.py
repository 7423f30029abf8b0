"""The parts of a card: in order, each under its heading, made when they are looked at."""

import re
from dataclasses import replace

from cardscreens import files_card, full_card
from luminaguard.approval.hunks import diff_rows
from luminaguard.approval.look import Ground, Look, Style
from luminaguard.approval.outline import Outline, Part, foldable
from luminaguard.approval.plain import full
from luminaguard.domain.diff import Body, FileDiff, Hunk, LineKind

LOOK = Look(columns=80, color=False, unicode=True)


def test_a_card_goes_from_the_question_to_what_is_least_sure() -> None:
    parts = list(dict.fromkeys(Outline(full_card())))
    assert parts == [
        Part.HEAD,
        Part.PREDICTED,
        Part.CHANGE,
        Part.GUEST,
        Part.PROSE,
        Part.OFFERS,
        Part.EVERYTHING,
        Part.END,
    ]


def test_parts_without_content_are_left_out() -> None:
    parts = list(Outline(files_card(2)))
    assert parts == [Part.HEAD, Part.CHANGE, Part.CHANGE, Part.EVERYTHING, Part.END]


def test_the_effect_in_numbers_stands_above_the_call() -> None:
    lines = list(full(full_card(), LOOK))
    effect = next(n for n, line in enumerate(lines) if "6 paths change" in line)
    call = next(n for n, line in enumerate(lines) if line.startswith("  call "))
    assert effect < call < 25
    assert re.search("\\+5 .5", "".join(lines[effect : effect + 2]))


def test_everything_the_policy_says_is_on_the_card() -> None:
    text = "\n".join(full(full_card(), replace(LOOK, columns=200)))
    for words in (
        "may change  files under dist",
        "▲ may reach registry.example",
        "▲ may read DEPLOY_TOKEN",
        "make --dry-run release would run unasked",
        "for this session: make release that changes at most 10 files under dist",
        "would also let through make release VERSION=2",
        "» Nothing is sent anywhere.",
        "git         branch main moves from 1a2b3c4 to 5d6e7f8: 2 commits",
        "▲ and 1 effect predicted, NOT measured",
        "1 path changed on your side meanwhile: README.md",
        "left running, killed since: node server.js",
        "2.4 MiB, sha256",
    ):
        assert words in text


def test_a_predicted_effect_stands_before_the_measured_ones_and_behind_its_own_edge() -> None:
    lines = list(full(full_card(), LOOK))
    predicted = next(n for n, line in enumerate(lines) if "sends mail to ann" in line)
    measured = next(n for n, line in enumerate(lines) if "1/6 created" in line)
    assert predicted < measured
    assert lines[predicted].startswith("   ? ")


def test_lists_that_are_cut_are_counted_and_named_in_full_at_the_end() -> None:
    paths = tuple(f"notes/{number}.md" for number in range(50))
    lines = list(full(replace(files_card(1), host_changes=paths), LOOK))
    text = "\n".join(lines)
    assert "50 paths changed on your side" in text
    assert "… 45 more" in text
    assert all(path in text for path in paths)


def test_a_folded_heading_counts_what_it_hides() -> None:
    section = Outline(full_card()).section(2, LOOK)
    assert section.heading is not None
    folded = foldable(section.heading, LOOK, folded_lines=1)
    assert "1 line folded" in folded.spans[-1][1]
    assert folded.edge[0][1].startswith("▸")
    assert foldable(section.heading, LOOK, folded_lines=None).edge[0][1].startswith("▾")


def hunk_of(signs: str) -> FileDiff:
    kinds = {" ": LineKind.CONTEXT, "-": LineKind.REMOVED, "+": LineKind.ADDED}
    lines = tuple((kinds[sign], f"value = {n}") for n, sign in enumerate(signs))
    return FileDiff(path="a", body=Body.TEXT, hunks=(Hunk(5, 8, lines),))


def test_each_line_has_its_number_in_the_old_or_the_new_file() -> None:
    rows = diff_rows(hunk_of(" --+ ++-"), LOOK)
    numbers = [row.edge[0][1].split()[0] for row in rows]
    assert numbers == ["8", "6", "7", "9", "10", "11", "12", "9"]


def test_a_removed_and_an_added_line_that_face_each_other_are_compared() -> None:
    look = replace(LOOK, color=True)
    rows = diff_rows(hunk_of(" --++ + -"), look)
    marks = []
    for row in rows:
        assert row.paint is not None
        pieces = row.paint(row.spans[-1][1], look)
        marks.append([text for style, text in pieces if style in {Style.ADDED, Style.REMOVED}])
    assert marks == [[], ["1"], ["2"], ["3"], ["4"], [], [], [], []]
    assert [row.ground for row in rows[:4]] == [
        Ground.NONE,
        Ground.REMOVED,
        Ground.REMOVED,
        Ground.ADDED,
    ]


def test_rows_of_a_diff_can_be_taken_from_anywhere() -> None:
    diff = hunk_of(" -+" * 40)
    rows = diff_rows(replace(diff, hunks=diff.hunks * 3), LOOK)
    assert len(rows) == 3 * 120 + 2
    texts = [row.spans[0][1] for row in rows]
    assert [row.spans[0][1] for row in rows[100:260]] == texts[100:260]
    assert rows[-1].spans[0][1] == texts[-1]
    assert texts.count("…") == 2
