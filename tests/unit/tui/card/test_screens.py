"""Pictures of the card, as text: every risk, width and state.

`UPDATE_SCREENS=1 pytest tests/unit/tui/card/test_screens.py` draws them anew; read the difference
before you commit it.
"""

import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from cardscreens import LOOK, full_card, lines_card, screen, settle, shown, whole
from luminaguard.approval.look import Look
from luminaguard.domain.verdict import Risk

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(sys.platform == "win32", reason="the time zone cannot be set there"),
]
SCREENS = Path(__file__).parents[3] / "data" / "screens"
WIDTHS = (40, 80, 200)
STATES = {
    "top": (),
    "scrolled": ("home", "pagedown", "down"),
    "at a change": ("home", *("]",) * 7),
    "end": ("end",),
    "folded": ("home", "c", "]", "]"),
    "unfolded again": ("c", "end", "pageup"),
}


@pytest.fixture(autouse=True)
def utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Show times in UTC, wherever the tests run."""
    with monkeypatch.context() as patched:
        patched.setenv("TZ", "UTC")
        time.tzset()
        yield
    time.tzset()


def compare(name: str, found: str) -> None:
    """Compare a screen with the stored one, or store it when asked to."""
    path = SCREENS / f"{name}.txt"
    if os.environ.get("UPDATE_SCREENS"):
        path.write_text(found, encoding="utf-8")
    assert found == path.read_text(encoding="utf-8")


def picture(lines: list[str]) -> str:
    return "".join(f"{line.rstrip()}\n" for line in lines)


@pytest.mark.parametrize("columns", WIDTHS)
@pytest.mark.parametrize("risk", Risk)
async def test_a_screen_looks_as_stored(risk: Risk, columns: int) -> None:
    found: list[str] = []
    async with shown(full_card(risk), columns, 16) as (view, pilot):
        for state, keys in STATES.items():
            await pilot.press(*keys)
            await settle(view, pilot)
            found.append(f"### {state}\n{picture(screen(view))}")
    compare(f"card-{risk.value}-{columns}", "\n".join(found))


@pytest.mark.parametrize("columns", WIDTHS)
async def test_a_whole_card_looks_as_stored(columns: int) -> None:
    async with shown(full_card(), columns, 30) as (view, pilot):
        await pilot.press("end", "[", "[", "[", "enter")
        found = picture(await whole(view, pilot))
    compare(f"whole-{columns}", found)


async def test_a_whole_card_in_ascii_looks_as_stored() -> None:
    async with shown(full_card(), 80, 30, Look(color=False, unicode=False)) as (view, pilot):
        compare("whole-80-ascii", picture(await whole(view, pilot)))


async def test_a_search_looks_as_stored() -> None:
    async with shown(full_card(), 80, 16) as (view, pilot):
        view.search("price")
        await pilot.press("n")
        await settle(view, pilot)
        compare("search-80", picture(screen(view)))


@pytest.mark.parametrize("columns", [20, 40, 80])
async def test_difficult_text_looks_as_stored(columns: int) -> None:
    lines = [
        "\x1b[2J\x1b]52;c;cm0gLXJmIH4=\x07\x1b]0;all good\x1b\\",
        "\x1b]8;;https://evil.example\x1b\\click\x1b]8;;\x1b\\",
        "access\u202e\u2066 // admin\u2069 \u2066",
        "a\u200b\u200bb\ufeffc\u00add",
        "漢字仮名交じり文は単語の間に空白がない",
        "👩🏽\u200d💻 ⚠️ 🇩🇪 e\u0301 नि ﷽",
        "\ttabs\tand   blanks   ",
        "averyveryveryverylongwordthatdoesnotfitanywhereatall",
        "━━ 🟢 LOW ━━ commit exactly this? ━━━━━━━━",
        "▾─ 1/1 created  harmless.txt",
        "x" + " " * 500 + "; rm -rf ~",
        "e" + "\u0301" * 9,
    ]
    async with shown(lines_card(lines), columns, 30) as (view, pilot):
        compare(f"difficult-{columns}", picture(await whole(view, pilot)))


def test_every_stored_screen_is_one_of_a_test() -> None:
    names = {f"card-{risk.value}-{columns}" for risk in Risk for columns in WIDTHS}
    names |= {f"whole-{columns}" for columns in WIDTHS} | {"whole-80-ascii", "search-80"}
    names |= {f"difficult-{columns}" for columns in (20, 40, 80)}
    assert {path.stem for path in SCREENS.glob("*.txt")} >= names
    assert LOOK.color
