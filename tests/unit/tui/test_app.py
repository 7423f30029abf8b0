"""The screen without a terminal: what is shown, and what keys do."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta

import anyio
import pytest
from textual.pilot import Pilot
from textual.widgets import Input, Static

from luminaguard.approval.card import DiffCard
from luminaguard.approval.desk.held import HeldDesk
from luminaguard.approval.keys import KeyGate
from luminaguard.domain.approval import Decision
from luminaguard.domain.grant import GrantOffer, GrantScope
from luminaguard.domain.verdict import Risk
from luminaguard.testing.cards import text_card
from luminaguard.tui.app import CliffApp
from luminaguard.tui.dialogs import GrantDialog, ReasonDialog, TextDialog, WordDialog
from luminaguard.tui.screen import MainScreen
from luminaguard.tui.trail import SHOWN_CHARS, short_text

pytestmark = pytest.mark.anyio

LIMIT_S = 20.0
OFFERS = (
    GrantOffer(offer_id="exact", scope=GrantScope.EXACT, covers="this call"),
    GrantOffer(offer_id="all", scope=GrantScope.PATTERN, covers="such calls", also=("make x",)),
)


class Shown:
    """The running app, its desk, and how its questions ended."""

    def __init__(self, app: CliffApp, pilot: Pilot[str], ended: list[Decision | None]) -> None:
        self.app, self.pilot, self.ended = app, pilot, ended

    def line(self, name: str) -> str:
        main = next(one for one in self.app.screen_stack if isinstance(one, MainScreen))
        return str(main.query_one(f"#{name}", Static).visual)

    async def until(self, *words: str, line: str = "keys") -> None:
        with anyio.fail_after(LIMIT_S):
            while not all(word in self.line(line) for word in words):
                await self.pilot.pause(0.02)

    async def is_asked(self) -> None:
        await self.until(" ready")

    async def answers(self, key: str) -> None:
        await self.is_asked()
        await self.pilot.press(key)

    async def opens(self, kind: type[object]) -> None:
        with anyio.fail_after(LIMIT_S):
            while not isinstance(self.app.screen, kind):
                await self.pilot.pause(0.02)

    async def ends(self, number: int = 0) -> Decision:
        with anyio.fail_after(LIMIT_S):
            while (decision := self.ended[number]) is None:
                await self.pilot.pause(0.02)
        return decision


@asynccontextmanager
async def shown(
    *cards: DiffCard, size: tuple[int, int] = (100, 40), **environ: str
) -> AsyncGenerator[Shown]:
    desk = HeldDesk(approver="tui")
    ended: list[Decision | None] = [None for _ in cards]
    app = CliffApp(
        environ={"TERM": "xterm-256color", "LANG": "C.UTF-8"} | environ,
        gate=KeyGate(arm_after_s=0.05, quiet_s=0.02),
    )
    app.attach(desk.attach(proof="a test"))

    async def ask(number: int, card: DiffCard) -> None:
        ended[number] = await desk.ask(card.request, card, origin=f"test {number}")

    async with anyio.create_task_group() as tasks:
        for number, card in enumerate(cards):
            tasks.start_soon(ask, number, card)
        async with app.run_test(size=size) as pilot:
            yield Shown(app, pilot, ended)
        tasks.cancel_scope.cancel()


def card(number: int = 0, risk: Risk = Risk.MEDIUM, lines: int = 1) -> DiffCard:
    texts = {"app.py": ("old\n", "".join(f"new {n}\n" for n in range(lines)))}
    return text_card(texts, risk=risk, arguments={"command": f"make {number}"})


async def test_an_approval_goes_to_the_desk() -> None:
    async with shown(card()) as screen:
        await screen.answers("a")
        decision = await screen.ends()
        assert (decision.end.value, decision.proof, decision.grant) == ("approved", "a test", "")
        await screen.until("nothing to decide", line="head")


async def test_a_reason_goes_along_with_a_no() -> None:
    async with shown(card()) as screen:
        await screen.answers("r")
        await screen.opens(ReasonDialog)
        screen.app.screen.query_one(Input).value = "  because  "
        await screen.pilot.press("enter")
        decision = await screen.ends()
        assert (decision.end.value, decision.reason) == ("rejected", "because")


async def test_escape_leads_back_from_the_reason() -> None:
    async with shown(card()) as screen:
        await screen.answers("r")
        await screen.opens(ReasonDialog)
        await screen.pilot.press("escape")
        await screen.answers("a")
        assert (await screen.ends()).end.value == "approved"


async def test_an_offer_is_taken_by_its_id() -> None:
    async with shown(replace(card(), offers=OFFERS)) as screen:
        await screen.until("remember")
        await screen.answers("g")
        await screen.opens(GrantDialog)
        await screen.pilot.press("down")
        await screen.answers("a")
        decision = await screen.ends()
        assert (decision.end.value, decision.grant) == ("approved", "all")


async def test_a_reject_key_does_nothing_among_the_offers() -> None:
    async with shown(replace(card(), offers=OFFERS)) as screen:
        await screen.answers("g")
        await screen.opens(GrantDialog)
        await screen.answers("r")
        await screen.pilot.pause(0.2)
        assert isinstance(screen.app.screen, GrantDialog)
        assert screen.ended == [None]


async def test_nothing_is_offered_where_nothing_may_be_remembered() -> None:
    async with shown(card()) as screen:
        await screen.answers("g")
        await screen.until("offers nothing", line="status")


async def test_a_critical_card_that_fits_wants_the_word() -> None:
    async with shown(card(risk=Risk.CRITICAL), size=(100, 60)) as screen:
        await screen.is_asked()
        await screen.pilot.press("end")
        await screen.pilot.pause(0.1)
        await screen.answers("a")
        await screen.opens(WordDialog)
        for letter in "approve":
            await screen.pilot.press(letter)
            await screen.pilot.pause(0.07)
        await screen.pilot.press("enter")
        assert (await screen.ends()).end.value == "approved"


async def test_a_critical_card_that_was_not_seen_whole_is_not_approved() -> None:
    async with shown(card(risk=Risk.CRITICAL, lines=300)) as screen:
        await screen.answers("a")
        await screen.until("not all of it", line="status")
        assert screen.ended == [None]


async def test_tab_looks_at_the_next_question_and_disarms() -> None:
    async with shown(card(1), card(2)) as screen:
        await screen.is_asked()
        await screen.pilot.press("tab")
        assert "2 of 2" in screen.line("head")
        assert " wait" in screen.line("keys")
        await screen.answers("a")
        assert (await screen.ends(1)).end.value == "approved"
        assert screen.ended[0] is None


async def test_a_click_looks_at_a_question_and_decides_none() -> None:
    async with shown(card(1), card(2), card(3)) as screen:
        await screen.is_asked()
        await screen.pilot.click("#queue", offset=(3, 4))
        await screen.until("3 of 3", line="head")
        assert screen.ended == [None, None, None]


async def test_keys_do_not_count_while_the_story_hides_the_card() -> None:
    async with shown(card()) as screen:
        await screen.is_asked()
        await screen.pilot.press("t", "a")
        await screen.pilot.pause(0.3)
        assert screen.ended == [None]
        await screen.pilot.press("t")
        await screen.answers("a")
        await screen.ends()


async def test_letters_of_a_search_are_no_answers() -> None:
    async with shown(card()) as screen:
        await screen.is_asked()
        await screen.pilot.press("slash", "a")
        await screen.pilot.pause(0.2)
        await screen.pilot.press("r", "q", "x", "enter")
        await screen.until("not found", line="status")
        assert screen.ended == [None]


async def test_help_and_leaving_are_asked_in_boxes_that_close() -> None:
    async with shown(card()) as screen:
        await screen.is_asked()
        await screen.pilot.press("question_mark")
        await screen.opens(TextDialog)
        await screen.pilot.press("a")
        await screen.opens(MainScreen)
        await screen.pilot.press("q")
        await screen.opens(TextDialog)
        await screen.pilot.press("escape")
        await screen.opens(MainScreen)
        assert screen.ended == [None]


async def test_a_question_that_is_gone_closes_its_dialog() -> None:
    expiring = text_card({"a": ("1\n", "2\n")}, open_for=timedelta(seconds=2))
    async with shown(expiring, card(1)) as screen:
        await screen.answers("r")
        await screen.opens(ReasonDialog)
        await screen.until("1 of 1", line="head")
        assert isinstance(screen.app.screen, MainScreen)
        assert (await screen.ends()).end.value == "expired"


@pytest.mark.parametrize(
    ("size", "classes"),
    [((100, 40), set()), ((60, 40), {"narrow"}), ((100, 20), {"low"}), ((20, 6), {"tiny"})],
)
async def test_parts_fit_the_size(size: tuple[int, int], classes: set[str]) -> None:
    async with shown(card(), size=size) as screen:
        await screen.pilot.pause(0.2)
        assert classes <= set(screen.app.screen.classes)
        assert ("tiny" in screen.app.screen.classes) == ("tiny" in classes)


async def test_two_hundred_questions_cost_what_is_seen_of_them() -> None:
    async with shown(*(card(number) for number in range(200))) as screen:
        await screen.until("1 of 200", line="head")
        for _ in range(199):
            screen.app.action_step(1)
        await screen.pilot.pause(0.1)
        assert "200 of 200" in screen.line("head")


async def test_ascii_terminals_get_marks_they_can_draw() -> None:
    async with shown(card(risk=Risk.HIGH), LANG="C") as screen:
        await screen.until("[!!]", line="head")
        assert screen.line("head").isascii()


async def test_a_long_argument_is_counted_in_the_story() -> None:
    assert short_text("x" * (SHOWN_CHARS + 5)).endswith("(5 more characters)")
