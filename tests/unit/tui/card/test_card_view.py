"""The card on the screen: every way to move, fold and search, at every size."""

import os
from dataclasses import replace

import pytest
from textual import events
from textual.geometry import Offset

from cardscreens import LOOK, files_card, full_card, lines_card, screen, settle, shown, whole
from luminaguard.approval.look import Look
from luminaguard.domain.verdict import Risk

pytestmark = pytest.mark.anyio


def heading(lines: list[str], text: str) -> int:
    return next(
        number for number, line in enumerate(lines) if line.startswith("▾") and text in line
    )


async def test_the_first_line_tells_where_the_screen_is() -> None:
    async with shown(full_card(), 80, 24) as (view, pilot):
        assert screen(view)[0].startswith("━ [0/6] the call and its effect ━")
        await pilot.press("]", "]", "]")
        await pilot.pause()
        assert screen(view)[0].startswith("━ [2/6] assets/logo.png ━")
        assert view.position == "[2/6]"
        assert " line " in screen(view)[0]
        await pilot.press("end")
        await pilot.pause()
        assert view.position == "[6/6]"


async def test_a_change_after_the_other_can_be_gone_to_and_back() -> None:
    async with shown(full_card(), 80, 24) as (view, pilot):
        seen: list[str] = []
        for _ in range(12):
            await pilot.press("]")
            await pilot.pause()
            seen.append(view.position)
        assert list(dict.fromkeys(seen)) == [f"[{n}/6]" for n in range(7)]
        for _ in range(12):
            await pilot.press("[")
            await pilot.pause()
        assert view.position == "[0/6]"
        assert view.scroll_offset == Offset(0, 0)


async def test_back_goes_first_to_the_heading_of_the_change_that_is_read() -> None:
    async with shown(lines_card([f"line {n}" for n in range(200)]), 80, 24) as (view, pilot):
        await pilot.press("]")
        await pilot.pause()
        top = view.scroll_offset.y
        await pilot.press("pagedown", "pagedown", "[")
        await pilot.pause()
        assert view.scroll_offset.y == top
        assert "created  a.txt" in screen(view)[1]


@pytest.mark.parametrize(
    ("keys", "lines"),
    [(["down"], 1), (["j", "j", "k"], 1), (["pagedown"], 22), (["space", "b"], 0), (["up"], 0)],
)
async def test_keys_scroll(keys: list[str], lines: int) -> None:
    async with shown(full_card(), 80, 24) as (view, pilot):
        await pilot.press(*keys)
        await pilot.pause()
        assert view.scroll_offset.y == lines


async def test_the_end_is_the_end_also_of_a_card_that_was_never_measured() -> None:
    card = lines_card(["word " * 40] * 20_000)
    async with shown(card, 60, 20) as (view, pilot):
        await pilot.press("end")
        await pilot.pause()
        assert screen(view)[-1].startswith("━━━")
        await pilot.press("home")
        await pilot.pause()
        assert "[0/1]" in screen(view)[0]
        assert "commit exactly this?" in screen(view)[1]


@pytest.mark.guarantee("G9")
async def test_reading_upward_skips_no_line_of_what_was_never_measured() -> None:
    lines = [f"{number} " + "word " * (number % 40) for number in range(3_000)]
    async with shown(lines_card(lines), 60, 24) as (view, pilot):
        view._document.measure = lambda _: False  # type: ignore[method-assign, union-attr]
        await pilot.press("end")
        await pilot.pause()
        below = screen(view)[1:]
        for _ in range(20):
            await pilot.press("pageup")
            await pilot.pause()
            above = screen(view)[1:]
            assert above[-1] == below[0]
            below = above


async def test_the_wheel_scrolls_and_the_scrollbar_follows() -> None:
    async with shown(full_card(), 80, 24) as (view, pilot):
        positions = [view.vertical_scrollbar.position]
        for turn in (events.MouseScrollDown,) * 3 + (events.MouseScrollUp,) * 3:
            await pilot._post_mouse_events([turn], widget=view, button=0)
            await pilot.pause()
            positions.append(view.vertical_scrollbar.position)
        assert positions == [0, 3, 6, 9, 6, 3, 0]
        assert view.vertical_scrollbar.region.x == 79
        assert view.vertical_scrollbar.window_virtual_size == view.virtual_size.height


async def test_a_change_folds_by_key_and_by_click_and_says_how_much_is_hidden() -> None:
    async with shown(full_card(), 80, 24) as (view, pilot):
        await pilot.press("]", "]")
        await pilot.press("enter")
        await pilot.pause()
        assert screen(view)[1].startswith("▸─ 1/6 created  .git/hooks/pre-commit  +2")
        assert screen(view)[1].rstrip().endswith("… 4 lines folded")
        await pilot.click(view, offset=(10, 1))
        await pilot.pause()
        assert screen(view)[1].startswith("▾─ 1/6 created")
        at = heading(screen(view), "2/6 modified")
        await pilot.click(view, offset=(5, at))
        await pilot.pause()
        assert screen(view)[at].startswith("▸─ 2/6 modified")
        await pilot.click(view, offset=(5, at + 2))  # not a heading
        await pilot.pause()
        assert screen(view)[at].startswith("▸─ 2/6 modified")


async def test_all_changes_fold_and_unfold() -> None:
    async with shown(files_card(50), 80, 24) as (view, pilot):
        await pilot.press("]", "]", "c")
        await pilot.pause()
        assert sum("3 lines folded" in line for line in screen(view)) >= 20
        assert view.position == "[2/50]"
        await pilot.press("c")
        await pilot.pause()
        assert screen(view)[1].startswith("▾─ 2/50")


async def test_folding_what_is_above_the_screen_brings_its_heading_back() -> None:
    async with shown(lines_card([f"line {n}" for n in range(200)]), 80, 24) as (view, pilot):
        await pilot.press("]", "pagedown", "pagedown", "enter")
        await pilot.pause()
        assert any(
            "200 lines folded" in line or "201 lines folded" in line for line in screen(view)
        )


async def test_a_click_on_the_first_line_leads_to_the_heading() -> None:
    async with shown(lines_card([f"line {n}" for n in range(200)]), 80, 24) as (view, pilot):
        await pilot.press("]", "pagedown", "pagedown")
        await pilot.click(view, offset=(3, 0))
        await pilot.pause()
        assert "1/1 created" in screen(view)[1]


async def test_hunks_are_gone_to_one_after_the_other() -> None:
    async with shown(full_card(), 80, 24) as (view, pilot):
        tops: list[int] = []
        for _ in range(4):
            await pilot.press("}")
            await pilot.pause()
            tops.append(view.scroll_offset.y)
            assert "│+" in screen(view)[1] or "│-" in screen(view)[1] or tops[-1] == tops[-2]
        assert tops == sorted(tops)
        await pilot.press("{")
        await pilot.pause()
        assert view.scroll_offset.y < tops[-1] or tops[-1] == view.max_scroll_y


async def test_a_search_goes_to_what_it_finds_and_around_the_end() -> None:
    async with shown(full_card(), 80, 24) as (view, pilot):
        view.search("pass")
        await settle(view, pilot)
        assert view.matches.startswith("1/")
        assert "found 1/" in screen(view)[0]
        assert any("/etc/passwd" in line for line in screen(view))
        count = int(view.matches.split("/")[1])
        for _ in range(count):
            await pilot.press("n")
        await pilot.pause()
        assert view.matches == f"1/{count}"
        await pilot.press("N")
        await pilot.pause()
        assert view.matches == f"{count}/{count}"
        assert view.search("") == 0
        await pilot.pause()
        assert "found" not in screen(view)[0]
        await pilot.press("n")


async def test_a_match_that_is_folded_away_is_unfolded() -> None:
    async with shown(full_card(), 80, 24) as (view, pilot):
        await pilot.press("c")
        view.search("net_price")
        await settle(view, pilot)
        assert view.matches == "1/1"
        assert any("order.net_price" in line for line in screen(view))


async def test_what_a_search_finds_is_drawn_in_another_way() -> None:
    async with shown(lines_card(["one needle", "two needle"]), 80, 40) as (view, pilot):
        view.search("needle")
        await settle(view, pilot)
        at = next(n for n, line in enumerate(screen(view)) if "two needle" in line)
        styles = {segment.text: segment.style for segment in view.render_line(at)}
        assert styles["needle"] != styles["two "]


async def test_a_resize_keeps_the_text_at_the_top() -> None:
    lines = [f"{number} " + "word " * 30 for number in range(2_000)]
    async with shown(lines_card(lines), 100, 24) as (view, pilot):
        view.search("1234 word")
        await settle(view, pilot)
        view.action_lines(7)
        await pilot.pause()
        top = screen(view)[1].split("│")[1].split()[:3]
        for columns in (40, 130, 100):
            await pilot.resize_terminal(columns, 24)
            await pilot.pause()
            assert all(len(line) <= columns for line in screen(view))
        assert screen(view)[1].split("│")[1].split()[:3] == top


@pytest.mark.parametrize(("columns", "rows"), [(1, 1), (2, 2), (5, 3), (10, 4), (19, 6), (21, 2)])
async def test_a_tiny_terminal_shows_a_part_and_loses_nothing(columns: int, rows: int) -> None:
    async with shown(full_card(), columns, rows) as (view, pilot):
        await pilot.press("down", "end", "]", "[", "}", "{", "enter", "c", "pageup", "home")
        await pilot.pause()
        assert view.seen_whole is False
        await pilot.resize_terminal(80, 24)
        await pilot.pause()
        assert "6 paths change" in "\n".join(screen(view))


async def test_a_card_that_is_too_narrow_is_scrolled_sideways() -> None:
    async with shown(lines_card(["abcdefghijklmnopqrstuvwxyz"]), 12, 40) as (view, pilot):
        view.search("abcd")
        await pilot.pause()
        left = "".join(screen(view))
        view.scroll_to(x=8, animate=False)
        await pilot.pause()
        assert screen(view)[1:] != left
        assert view.virtual_size.width == 16


async def test_the_same_card_again_stays_where_it_is_and_another_begins_at_its_top() -> None:
    card = full_card()
    async with shown(card, 80, 24) as (view, pilot):
        await pilot.press("pagedown")
        view.show(card, LOOK)
        await pilot.pause()
        assert view.scroll_offset.y == 22
        view.show(full_card(Risk.LOW), LOOK)
        await pilot.pause()
        assert view.scroll_offset.y == 0
        assert "LOW" in screen(view)[1]


async def test_no_card_is_an_empty_screen_that_keys_do_nothing_to() -> None:
    async with shown(None, 80, 24) as (view, pilot):
        await pilot.press("down", "end", "]", "[", "}", "enter", "c", "n", "N")
        assert view.search("x") == 0
        await pilot.click(view, offset=(3, 3))
        await pilot.pause()
        assert {line.strip() for line in screen(view)} == {""}
        assert (view.card, view.position, view.seen_whole, view.unseen_changes) == (
            None,
            "",
            False,
            0,
        )


async def test_a_card_that_was_paged_through_was_seen_whole() -> None:
    async with shown(full_card(), 80, 24) as (view, pilot):
        assert not view.seen_whole
        assert view.unseen_changes == 6
        await pilot.press("end")
        await pilot.pause()
        assert not view.seen_whole
        await whole(view, pilot)
        assert view.seen_whole
        assert view.unseen_changes == 0


async def test_what_is_out_of_sight_is_measured_while_nothing_happens() -> None:
    card = lines_card(["word " * 60] * 3_000)
    async with shown(card, 60, 24) as (view, pilot):
        await pilot.press("pagedown")
        await pilot.pause()
        top = screen(view)
        await settle(view, pilot)
        assert not view.height_is_guessed
        assert view.virtual_size.height > 6 * 3_000
        assert screen(view)[1:] == top[1:]


RISK_COLORS = {
    Risk.LOW: (0x4C, 0xC4, 0x6B),
    Risk.MEDIUM: (0xD9, 0xB1, 0x3B),
    Risk.HIGH: (0xF2, 0x68, 0x6B),
    Risk.CRITICAL: (0xD1, 0x83, 0xE8),
}


@pytest.mark.parametrize("risk", Risk)
async def test_each_risk_has_its_color_and_its_word(risk: Risk) -> None:
    async with shown(full_card(risk), 80, 24) as (view, _):
        first, title = view.render_line(0), view.render_line(1)
        style = next(iter(first)).style
        assert style is not None
        assert style.color is not None
        assert tuple(style.color.get_truecolor()) == RISK_COLORS[risk]
        assert risk.value.upper() in title.text


async def test_without_colors_nothing_has_one_and_signs_say_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(os.environ, "NO_COLOR", "1")
    async with shown(full_card(), 80, 60, replace(LOOK, color=False)) as (view, _):
        for y in range(60):
            for segment in view.render_line(y):
                color = segment.style.color if segment.style else None
                if color is not None:
                    assert len(set(color.get_truecolor())) == 1  # gray
        text = "\n".join(screen(view))
        assert "HIGH" in text
        assert "│+ " in text


async def test_a_terminal_that_knows_ascii_only_gets_nothing_else() -> None:
    async with shown(full_card(), 80, 24, Look(color=False, unicode=False)) as (view, pilot):
        text = "".join(await whole(view, pilot)) + screen(view)[0]
        assert text.isascii()
        assert "<U+65E7>" in text


async def test_a_light_theme_has_dark_ink() -> None:
    async with shown(full_card(), 80, 24) as (view, pilot):
        dark = view.render_line(3)
        view.app.theme = "textual-light"
        await pilot.pause()
        assert view.render_line(3).text == dark.text
        assert list(view.render_line(3)) != list(dark)


async def test_the_toolkits_own_way_of_drawing_lines_gives_the_same_text() -> None:
    async with shown(full_card(), 80, 24) as (view, _):
        direct = screen(view)
        assert [view.render_line(y).text for y in range(24)] == direct
