"""Trying again stops where it cannot help; another model goes on where one cannot."""

from collections.abc import Sequence
from decimal import Decimal

import pytest

from luminaguard.domain.calls import ToolSpec
from luminaguard.errors import (
    ContextTooLong,
    ModelAuthError,
    ModelError,
    ModelNotFound,
    ModelOverloaded,
    ModelQuotaSpent,
    ModelRateLimited,
    ModelRefused,
)
from luminaguard.llm.model import Message, OnText, Reply
from luminaguard.llm.patience import ATTEMPTS, LONGEST_WAIT_S, FallbackChain, PatientModel
from luminaguard.llm.usage import Usage

pytestmark = pytest.mark.anyio


class Fated:
    """Fails as told, then answers."""

    def __init__(self, name: str, *errors: ModelError, price: str | None = "0") -> None:
        self.name = name
        self.errors = list(errors)
        self.asked = 0
        self._price = price

    def price(self, usage: Usage) -> Decimal | None:
        return None if self._price is None else Decimal(self._price)

    async def reply(
        self, conversation: Sequence[Message], tools: Sequence[ToolSpec], on_text: OnText
    ) -> Reply:
        self.asked += 1
        if self.errors:
            raise self.errors.pop(0)
        return Reply(text=self.name)

    async def close(self) -> None:
        self.asked = -1


class Waits:
    """A clock that only notes how long it was to sleep."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    async def __call__(self, seconds: float) -> None:
        self.seconds.append(seconds)


def ignore(text: str) -> None:
    del text


async def test_waits_grow_up_to_a_limit_and_carry_jitter() -> None:
    waits = Waits()
    model = Fated("m", *[ModelOverloaded("busy")] * 9)
    patient = PatientModel(model=model, attempts=10, sleep=waits, jitter=lambda: 1.0)
    await patient.reply((), (), ignore)
    assert waits.seconds == [1, 2, 4, 8, 16, 32, 60, 60, 60]


@pytest.mark.parametrize("jitter", [0.0, 0.3, 1.0])
async def test_a_provider_is_never_asked_earlier_than_it_wants(jitter: float) -> None:
    waits = Waits()
    model = Fated("m", ModelRateLimited("slow", retry_after_s=20.0))
    await PatientModel(model=model, sleep=waits, jitter=lambda: jitter).reply((), (), ignore)
    assert waits.seconds == [20.0]


async def test_a_wait_that_is_too_long_is_not_waited() -> None:
    waits = Waits()
    model = Fated("m", ModelRateLimited("slow", retry_after_s=LONGEST_WAIT_S + 1))
    with pytest.raises(ModelRateLimited):
        await PatientModel(model=model, sleep=waits).reply((), (), ignore)
    assert (waits.seconds, model.asked) == ([], 1)


@pytest.mark.parametrize(
    "error", [ModelAuthError, ModelNotFound, ModelQuotaSpent, ContextTooLong, ModelRefused]
)
async def test_what_trying_again_cannot_mend_is_tried_once(error: type[ModelError]) -> None:
    model = Fated("m", error("no"))
    with pytest.raises(error):
        await PatientModel(model=model, sleep=Waits()).reply((), (), ignore)
    assert model.asked == 1


async def test_patience_ends() -> None:
    model = Fated("m", *[ModelOverloaded("busy")] * 99)
    with pytest.raises(ModelOverloaded):
        await PatientModel(model=model, sleep=Waits()).reply((), (), ignore)
    assert model.asked == ATTEMPTS


@pytest.mark.parametrize(
    "error", [ModelAuthError, ModelNotFound, ModelQuotaSpent, ModelOverloaded, ModelRateLimited]
)
async def test_another_model_goes_on_and_stays(error: type[ModelError]) -> None:
    told: list[str] = []
    first, second = Fated("first", error("no")), Fated("second")
    chain = FallbackChain(models=(first, second), notice=told.append)
    assert chain.name == "first"
    assert (await chain.reply((), (), ignore)).text == "second"
    assert (await chain.reply((), (), ignore)).text == "second"
    assert (chain.name, first.asked, second.asked) == ("second", 1, 2)
    assert told == ["no; going on with second"]


@pytest.mark.parametrize("error", [ContextTooLong, ModelRefused])
async def test_what_another_model_would_not_mend_ends_the_chain(error: type[ModelError]) -> None:
    second = Fated("second")
    with pytest.raises(error):
        await FallbackChain(models=(Fated("first", error("no")), second)).reply((), (), ignore)
    assert second.asked == 0


async def test_the_last_models_error_counts() -> None:
    chain = FallbackChain(
        models=(Fated("a", ModelOverloaded("one")), Fated("b", ModelAuthError("two")))
    )
    with pytest.raises(ModelAuthError, match="two"):
        await chain.reply((), (), ignore)


@pytest.mark.parametrize(
    ("prices", "price"), [(("1", "3"), "3"), (("1", None), None), ((None, "1"), None)]
)
def test_a_chain_costs_what_its_dearest_model_costs(
    prices: tuple[str | None, ...], price: str | None
) -> None:
    chain = FallbackChain(models=[Fated("m", price=one) for one in prices])
    assert chain.price(Usage()) == (None if price is None else Decimal(price))
