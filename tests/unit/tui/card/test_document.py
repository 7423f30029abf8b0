"""A card as one column of lines: any line, at once, whatever the size."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cardscreens import LOOK, files_card, full_card, lines_card
from luminaguard.approval.card import DiffCard
from luminaguard.approval.look import Look
from luminaguard.approval.outline import Part
from luminaguard.tui.card import document as module
from luminaguard.tui.card.document import BLOCK_ROWS, CardDocument
from luminaguard.tui.card.index import Heights
from luminaguard.tui.card.search import Search


def never() -> bool:
    return False


def look(columns: int) -> Look:
    return replace(LOOK, columns=columns)


def text_at(document: CardDocument, line: int) -> str:
    block, within = document.at(line)
    fitted, _, part = block.place(within)
    return "".join(text for _, text in (*fitted.edge(part), *fitted.line(part)))


def all_lines(document: CardDocument) -> list[str]:
    document.measure(never)
    return [text_at(document, line) for line in range(document.height)]


@given(st.lists(st.integers(0, 9), min_size=1, max_size=70), st.data())
def test_heights_find_each_line_also_after_changes(heights: list[int], data: st.DataObject) -> None:
    found = Heights(heights)
    for _ in range(5):
        block = data.draw(st.integers(0, len(heights) - 1))
        heights[block] = found[block] + data.draw(st.integers(0, 5))
        found[block] = heights[block]
    places = [(block, line) for block, height in enumerate(heights) for line in range(height)]
    assert found.total == len(places)
    assert [found.find(line) for line in range(found.total)] == places
    assert [found.top(block) for block in range(len(heights))] == [
        sum(heights[:block]) for block in range(len(heights))
    ]


@pytest.mark.parametrize("columns", [20, 40, 80, 200])
def test_lines_are_the_same_read_forward_backward_and_measured(columns: int) -> None:
    card = full_card()
    forward = all_lines(CardDocument(card, look(columns)))
    other = CardDocument(card, look(columns))
    for line in range(other.height - 1, -1, -1):
        text_at(other, line)
    assert all_lines(other) == forward
    fresh = CardDocument(card, look(columns))
    unmeasured: list[str] = []
    while len(unmeasured) < fresh.height:
        unmeasured.append(text_at(fresh, len(unmeasured)))
    assert unmeasured == forward


@settings(max_examples=30)
@given(st.data())
def test_a_place_is_found_again_at_another_width(data: st.DataObject) -> None:
    card = full_card()
    document = CardDocument(card, look(data.draw(st.sampled_from([30, 80, 120]))))
    document.measure(never)
    line = data.draw(st.integers(0, document.height - 1))
    place = document.place_at(line)
    document.look = look(data.draw(st.sampled_from([20, 50, 200])))
    again = document.place_at(document.line_of(place))
    assert (again.block, again.row) == (place.block, place.row)
    assert again.offset <= place.offset


def test_folding_hides_rows_counts_them_and_gives_them_back() -> None:
    document = CardDocument(full_card(), look(80))
    before = all_lines(document)
    section = document.outline.changes[-1]
    rows = len(document.outline.section(section, look(80)).rows)
    document.fold(section, folded=True)
    folded = all_lines(document)
    assert len(folded) == len(before) - rows
    assert f"… {rows} lines folded" in folded[document.top_of_section(section)]
    document.fold(section, folded=False)
    assert all_lines(document) == before


def test_all_changes_fold_to_a_line_each() -> None:
    document = CardDocument(files_card(300), look(80))
    before = all_lines(document)
    document.fold_all(folded=True)
    lines = all_lines(document)
    assert sum("3 lines folded" in line for line in lines) == 300
    assert len(lines) == len(before) - 300 * 4  # no blank lines but the first
    document.fold_all(folded=False)
    assert all_lines(document) == before


def test_head_and_end_cannot_be_folded() -> None:
    document = CardDocument(files_card(1), look(80))
    before = all_lines(document)
    for section in (0, len(document.outline) - 1):
        document.fold(section, folded=True)
    assert all_lines(document) == before


@pytest.mark.parametrize("card", [files_card(5_000), lines_card(["line"] * 100_000)])
def test_a_screen_of_a_huge_card_lays_out_next_to_nothing(card: DiffCard) -> None:
    for where in (0.0, 0.5, 1.0):
        document = CardDocument(card, look(80))
        top = int(where * (document.height - 40))
        for line in range(top, top + 40):
            text_at(document, line)
        assert not document.is_measured
        assert document.laid_out_blocks <= 45


def test_memory_of_what_was_read_is_bounded() -> None:
    document = CardDocument(lines_card([f"line {n}" for n in range(20_000)]), look(80))
    for line in range(0, document.height, 50):
        text_at(document, line)
    assert document.laid_out_blocks <= module.KEPT_BLOCKS


def test_a_long_text_in_one_row_is_kept_once_and_dropped_again() -> None:
    card = lines_card(["é" * 2_000_000, "x", "é" * 2_000_000] + ["y"] * BLOCK_ROWS * 3)
    document = CardDocument(card, look(80))
    height = document.height
    document.measure(never)
    assert document.height > height + 33_000
    assert "│" in text_at(document, document.height // 2)
    text_at(document, document.height - 5)
    assert document.laid_out_blocks <= 3


def test_the_last_screen_is_known_without_measuring_the_rest() -> None:
    document = CardDocument(lines_card(["word " * 100] * 10_000), look(40))
    top = document.last_screen(20)
    assert document.height - top == 20
    assert not document.is_measured
    assert text_at(document, document.height - 1).startswith("━")


def test_next_and_previous_hunk_are_runs_of_changed_lines() -> None:
    document = CardDocument(full_card(), look(80))
    lines = all_lines(document)
    found: list[int] = []
    line: int | None = 0
    while line is not None:
        line = document.next_hunk(line, 1)
        found += [] if line is None else [line]
    assert all("│+" in lines[at] or "│-" in lines[at] for at in found)
    assert len(found) == 4
    back: list[int] = []
    line = document.height - 1
    while line is not None:
        line = document.next_hunk(line, -1)
        back += [] if line is None else [line]
    assert back[::-1] == found


def card_with(text: str) -> DiffCard:
    return lines_card(["nothing", f"a {text} b {text}", "nothing", text.upper()] * 100)


def test_a_search_counts_from_its_start_around_the_card() -> None:
    document = CardDocument(card_with("needle"), look(80))
    search = Search("needle", document.place_at(document.height - 20))
    search.run(document, never)
    assert len(search) == 300
    first = search.current
    assert first is not None
    assert document.line_of(first) >= document.height - 20
    walked = {first}
    for _ in range(299):
        search.step(1)
        assert search.current is not None
        walked.add(search.current)
    assert len(walked) == 300
    search.step(1)
    assert search.current == first
    search.step(-1)
    search.step(1)
    assert search.current == first
    assert search.count_text.endswith("/300")


def test_capital_letters_are_looked_for_as_they_are() -> None:
    document = CardDocument(card_with("needle"), look(80))
    for query, count in (("needle", 300), ("NEEDLE", 100), ("Needle", 0), ("", 0)):
        search = Search(query)
        search.run(document, never)
        assert len(search) == count
    assert search.count_text == ""
    assert not search.step(1)


def test_a_search_stops_when_time_is_up_and_goes_on_later() -> None:
    document = CardDocument(card_with("needle"), look(80))
    search = Search("needle")
    search.run(document, iter([False, True]).__next__)
    assert search.is_running
    assert search.count_text.endswith("+")
    search.run(document, never)
    assert not search.is_running
    assert search.count_text == "1/300"


def test_a_search_finds_what_is_folded_away() -> None:
    document = CardDocument(full_card(), look(80))
    section = list(document.outline).index(Part.EVERYTHING)
    assert document.is_folded(section)
    search = Search(document.card.request.digest)
    search.run(document, never)
    assert search.current is not None
    assert document.section_of(search.current.block) == section


def test_only_lines_that_were_drawn_count_as_seen() -> None:
    document = CardDocument(full_card(), look(80))
    document.measure(never)
    last = document.outline.changes[-1]
    for line in range(document.height - 1):
        document.saw(*document.at(line))
    assert document.is_seen(document.outline.changes)
    assert not document.is_seen_whole
    document.saw(*document.at(document.height - 1))
    assert document.is_seen_whole
    document.look = look(40)
    assert document.is_seen_whole
    other = CardDocument(full_card(), look(80))
    other.fold(last, folded=True)
    for line in range(other.height):
        other.saw(*other.at(line))
    assert not other.is_seen_whole
