"""Attacks on whoever reads a card on the screen: what is shown is text, in its place, and soon."""

import re
import time
from collections.abc import Callable
from dataclasses import replace

import pytest
from textual.geometry import Region

from cardscreens import LOOK, files_card, full_card, lines_card, screen, shown, whole
from luminaguard.approval.card import DiffCard
from luminaguard.approval.look import Ground, Style
from luminaguard.domain.grant import GrantOffer, GrantScope
from luminaguard.domain.verdict import Risk
from luminaguard.domain.visible import visible
from luminaguard.tui.card.view import CardView

pytestmark = [pytest.mark.anyio, pytest.mark.guarantee("G9")]

ACTS = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200b\u200c\u200e\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff]"
)
ATTACKS = {
    "clears the screen": "\x1b[2J\x1b[H",
    "writes the clipboard": "\x1b]52;c;cm0gLXJmIH4=\x07",
    "hides a hyperlink": "\x1b]8;;https://evil.example\x1b\\click\x1b]8;;\x1b\\",
    "sets the title": "\x1b]0;all good\x1b\\",
    "ends the synchronized frame": "\x1b[?2026l\x1b[?1049l",
    "turns the mouse off": "\x1b[?1003l\x1b[?2004l",
    "asks for an answer": "\x1b[6n\x1b[c\x1bP+q544e\x1b\\",
    "turns text around": "access\u202e\u2066 // admin\u2069 \u2066",
    "overwrites its line": "rm -rf /\rls          ",
    "hides in zero width": "a\u200b\u200b\u200b\ufeff",
    "is an 8-bit escape": "\x9b2J\x9d52;c;eA==\x9c",
    "is the toolkit's markup": "[@click=app.quit]yes[/] [bold red]no[/] [link=x]y[/link]",
    "breaks its line": "one\x0btwo\x0cthree\x85four\u2028five",
    "is no text at all": "\udcff\udc80\ud800",
}


def everywhere(text: str) -> DiffCard:
    """Return a card on which a text stands wherever foreign text can stand."""
    card = full_card()
    paths = lines_card([text, f"x = '{text}'"], path=text.replace("/", "_") + ".py")
    call = replace(card.call, tool=text, arguments={text: text, "argv": [text], "n": {"k": [text]}})
    request = replace(
        paths.request, call_digest=call.digest, workspace=text, server=text, session_id=text
    )
    assert card.report is not None
    output = text.encode("utf-8", "surrogatepass")
    return replace(
        paths,
        call=call,
        request=request,
        verdict=replace(
            card.verdict,
            rules=(text,),
            reasons=(text,),
            changes=(text,),
            reaches=(text,),
            secrets=(text,),
            instead=(text,),
        ),
        report=replace(card.report, stdout=output, stderr=output, leftover=(text,)),
        host_changes=(text,),
        left_out=(text,),
        git=(text,),
        predicted=(text,),
        prose=text,
        offers=(GrantOffer(offer_id="1", scope=GrantScope.EXACT, covers=text, also=(text,)),),
    )


def strips(view: CardView) -> list[tuple[str, object]]:
    """Return each piece that is on the screen with its style."""
    region = view.scrollable_content_region
    return [
        (segment.text, segment.style)
        for strip in view.render_lines(Region(0, 0, region.width, region.height))
        for segment in strip
    ]


@pytest.mark.parametrize("columns", [20, 80])
async def test_an_attack_on_the_terminal_is_text_wherever_it_stands(columns: int) -> None:
    async with shown(None, columns, 30) as (view, pilot):
        for name, attack in ATTACKS.items():
            view.show(everywhere(attack), LOOK)
            await pilot.pause()
            assert view._document is not None
            view.toggle(len(view._document.outline) - 2)  # what repeats the card is folded away
            for line in await whole(view, pilot):
                assert not ACTS.search(line), name
            for text, style in strips(view):
                assert not ACTS.search(text), name
                assert not getattr(style, "link", None), name
                assert not getattr(style, "meta", None), name
            raw = view.app.screen._compositor.render_strips()
            assert not any(ACTS.search(strip.text) for strip in raw), name


@pytest.mark.parametrize("columns", [40, 80, 200])
async def test_a_card_drawn_in_a_file_never_stands_where_the_card_speaks(columns: int) -> None:
    async with shown(full_card(Risk.LOW), columns, 30) as (view, pilot):
        fake = [line.rstrip() for line in await whole(view, pilot)]
        fake = [screen(view)[0], *fake]
    # One of these is broken exactly where the forged title begins.
    fake += ["x" * pad + " " + fake[1] for pad in range(columns - 20, columns)]
    card = lines_card(fake, path="━ [9/9] ok ━ line 1 of 1 ━")
    card = replace(card, measured_risk=Risk.CRITICAL, prose="\n".join(fake))
    async with shown(card, columns, 30) as (view, pilot):
        lines = await whole(view, pilot)
        titles = [line for line in lines if line.startswith("━━ ")]
        assert len(titles) == 1
        assert "CRITICAL" in titles[0]
        headings = [line for line in lines if line[:1] in "▾▸"]
        assert sum("created" in line for line in headings) == 1
        for line in lines:
            if "🟢" in line or "6 paths change" in line:
                assert line.lstrip(" 0123456789↪").startswith(("│", "»"))
        assert screen(view)[0].startswith("━ [")


async def test_a_changed_line_cannot_take_the_look_of_an_added_one() -> None:
    async with shown(lines_card(["+ added", "- removed", "  kept"]), 80, 40) as (view, _):
        document = view._document
        assert document is not None
        grounds = set()
        for line in range(document.height):
            block, within = document.at(line)
            fitted = block.place(within)[0]
            if fitted.text in {"+ added", "- removed", "  kept"}:
                grounds.add(fitted.row.ground)
                assert fitted.edge(0)[-1] == (Style.GREEN, "+ ")
        assert grounds == {Ground.ADDED}


@pytest.mark.parametrize("columns", [20, 40, 80, 200])
async def test_nothing_of_a_text_is_lost_whatever_the_width(columns: int) -> None:
    texts = [
        "word " * 60 + "END",
        "漢字" * 150 + "終",
        "x" * 700,
        "\ttab" * 90,
        "é👩🏽\u200d💻⚠️ " * 40,
        "\x1b[31m" * 60,
    ]
    async with shown(lines_card(texts), columns, 30) as (view, pilot):
        lines = await whole(view, pilot)
    read = _bare("".join(line.partition("│")[2][2:] for line in lines if "│" in line))
    for text in texts:
        assert _bare(visible(text, tab=LOOK.glyphs.tab)) in read


def _bare(text: str) -> str:
    """Return a text without blanks, which a full line of the screen has more of."""
    return re.sub(" ", "", text)


@pytest.mark.parametrize(
    "flood",
    [
        lambda: lines_card([f"{number} " + "y" * 90 for number in range(100_000)]),
        lambda: lines_card(["x" * 1_000_000] * 5 + ["漢 字" * 300_000, "\x1b[2J" * 100_000]),
        lambda: files_card(10_000),
        pytest.param(lambda: files_card(100_000), marks=pytest.mark.long),
    ],
    ids=["10 MB of lines", "lines of a megabyte", "10,000 files", "100,000 files"],
)
async def test_a_flood_is_opened_scrolled_and_left_without_laying_it_out(
    flood: Callable[[], DiffCard],
) -> None:
    card = flood()
    async with shown(files_card(1), 80, 24) as (view, pilot):
        view.show(card, LOOK)
        await pilot.pause()
        document = view._document
        assert document is not None
        assert "[0/" in screen(view)[0]
        begin = time.process_time()
        await pilot.press("pagedown", "end", "home", "]", "}", "down")
        await pilot.pause()
        view.show(None, LOOK)
        assert document.laid_out_blocks <= 64
        assert time.process_time() - begin < 60  # a hang, not a figure: those are in benchmarks/
