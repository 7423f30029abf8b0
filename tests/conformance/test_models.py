"""Every provider, through its real client library, against a server that speaks its protocol."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from decimal import Decimal
from threading import Event

import anyio
import pytest

from luminaguard.domain.calls import ToolSpec
from luminaguard.errors import (
    ContextTooLong,
    ModelAnswerBroken,
    ModelAuthError,
    ModelError,
    ModelOverloaded,
    ModelQuotaSpent,
    ModelRateLimited,
    ModelTimedOut,
    ModelUnreachable,
    Retry,
)
from luminaguard.llm.choose import choose_model
from luminaguard.llm.model import ChatModel, Message, Reply, Role
from luminaguard.llm.names import COMPATIBLE, PROVIDERS
from luminaguard.llm.patience import PatientModel
from luminaguard.llm.remote.translate import UNREADABLE
from luminaguard.llm.settings import ModelSettings, ProviderSettings
from luminaguard.tools.toolbox import Toolbox, agent_tools
from providers.answers import Answer, CutOff, Endless, Garbage, Refusal, Silence, Trouble
from providers.protocols import SPEECHES
from providers.server import ProviderServer, provider_server

pytestmark = pytest.mark.anyio
TOOLS = Toolbox(agent_tools()).specs
TASK = (Message(role=Role.SYSTEM, text="prompt"), Message(role=Role.USER, text="task"))
KEY = "sk-a-very-secret-key"
LS = ("shell", '{"command": "ls -l"}')
PWD = ("shell", '{"command": "pwd"}')


@dataclass
class Talk:
    """A provider's server, and the model that asks it."""

    provider: str
    server: ProviderServer
    model: ChatModel

    def __post_init__(self) -> None:
        self.pieces: list[str] = []

    async def ask(self, *more: Message, tools: tuple[ToolSpec, ...] = TOOLS) -> Reply:
        with anyio.fail_after(60):
            return await self.model.reply((*TASK, *more), tools, self.pieces.append)


def talk_to(provider: str, server: ProviderServer, timeout_s: float = 30.0) -> Talk:
    speaks_openai = provider in {"openai", "ollama", "llamacpp", COMPATIBLE}
    url = server.url + ("/v1" if speaks_openai else "")
    name = f"{url}#some-model" if provider == COMPATIBLE else f"{provider}:some-model"
    model = choose_model(
        ModelSettings(name=name, timeout_s=timeout_s, attempts=1),
        {provider: ProviderSettings(base_url=url)},
        environ={PROVIDERS[provider].key_variable: KEY},
    )
    return Talk(provider, server, model)


@pytest.fixture(params=list(PROVIDERS))
async def talk(request: pytest.FixtureRequest) -> AsyncIterator[Talk]:
    with provider_server(SPEECHES[request.param]) as server:
        found = talk_to(request.param, server)
        yield found
        await found.model.close()


async def test_text_arrives_in_pieces_and_calls_come_whole(talk: Talk) -> None:
    talk.server.will(Answer(pieces=("Hel", "lo"), calls=(LS, PWD)))
    reply = await talk.ask()
    assert (talk.pieces, reply.text) == (["Hel", "lo"], "Hello")
    assert [(call.tool, dict(call.arguments)) for call in reply.calls] == [
        ("shell", {"command": "ls -l"}),
        ("shell", {"command": "pwd"}),
    ]
    assert (reply.usage.input_tokens, reply.usage.output_tokens) == (100, 20)


async def test_the_real_schemas_and_the_key_reach_the_provider(talk: Talk) -> None:
    talk.server.will(Answer(pieces=("ok",)))
    await talk.ask()
    (asked,) = talk.server.asked
    offered = talk.server.speech.tools_in(asked.body)
    assert list(offered) == [tool.name for tool in TOOLS]
    for tool in TOOLS:
        properties = tool.parameters["properties"]
        assert isinstance(properties, dict)
        assert list(offered[tool.name]["properties"]) == list(properties)
    assert talk.server.speech.key_of(asked.headers) == KEY


async def test_the_real_results_go_back_in_order(talk: Talk) -> None:
    talk.server.will(Answer(pieces=("a",), calls=(LS, PWD)), Answer(pieces=("done",)))
    reply = await talk.ask()
    first, second = reply.calls
    assert first.call_id != second.call_id
    answers = (
        Message(role=Role.TOOL, text="result of ls", call_id=first.call_id),
        Message(role=Role.TOOL, text="result of pwd", call_id=second.call_id),
    )
    finished = await talk.ask(reply.message, *answers)
    assert (finished.text, finished.calls) == ("done", ())
    results = talk.server.speech.results_in(talk.server.asked[-1].body)
    assert results == ["result of ls", "result of pwd"]


async def test_a_conversation_with_another_model_can_be_gone_on_with(talk: Talk) -> None:
    talk.server.will(Answer(calls=(LS,)), Answer(pieces=("done",)))
    call = (await talk.ask()).calls[0]
    foreign = Message(role=Role.ASSISTANT, text="I look.", calls=(call,))
    result = Message(role=Role.TOOL, text="result", call_id=call.call_id)
    assert (await talk.ask(foreign, result)).text == "done"
    assert talk.server.speech.results_in(talk.server.asked[-1].body) == ["result"]


async def test_arguments_that_are_no_object_become_a_call_that_no_tool_takes(talk: Talk) -> None:
    talk.server.will(Answer(calls=(("shell", '{"command": "rm'),)))
    (call,) = (await talk.ask()).calls
    assert UNREADABLE in call.arguments


@pytest.mark.parametrize(
    ("trouble", "error", "retry"),
    [
        (Trouble.AUTH, ModelAuthError, Retry.NEVER),
        (Trouble.NOT_FOUND, ModelError, Retry.NEVER),
        (Trouble.RATE, ModelRateLimited, Retry.SAFE),
        (Trouble.QUOTA, ModelQuotaSpent, Retry.NEVER),
        (Trouble.OVERLOAD, ModelOverloaded, Retry.SAFE),
        (Trouble.SERVER, ModelOverloaded, Retry.SAFE),
        (Trouble.CONTEXT, ContextTooLong, Retry.NEVER),
    ],
)
async def test_each_refusal_is_an_error_of_its_kind(
    talk: Talk, trouble: Trouble, error: type[ModelError], retry: Retry
) -> None:
    talk.server.will(Refusal(trouble=trouble, echo="try later"))
    with pytest.raises(error) as caught:
        await talk.ask()
    assert caught.value.retry is retry
    assert len(talk.server.asked) == 1, "the library tried again by itself"


@pytest.mark.guarantee("G10")
async def test_a_key_that_a_server_echoes_is_not_shown(talk: Talk) -> None:
    talk.server.will(Refusal(trouble=Trouble.AUTH, echo=f"Wrong key {KEY}\x1b[31m"))
    with pytest.raises(ModelAuthError) as caught:
        await talk.ask()
    assert KEY not in str(caught.value)
    assert "\x1b" not in str(caught.value)


async def test_how_long_a_provider_asks_to_wait_is_known(talk: Talk) -> None:
    talk.server.will(Refusal(trouble=Trouble.RATE, headers={"Retry-After": "7"}))
    with pytest.raises(ModelRateLimited) as caught:
        await talk.ask()
    assert caught.value.context["retry_after_s"] == 7.0


async def test_an_answer_that_breaks_off_is_no_answer(talk: Talk) -> None:
    talk.server.will(CutOff(answer=Answer(pieces=("all ", "is "), calls=(LS,))))
    with pytest.raises((ModelUnreachable, ModelAnswerBroken)) as caught:
        await talk.ask()
    assert caught.value.retry is Retry.SAFE


async def test_an_answer_that_cannot_be_read_is_an_error(talk: Talk) -> None:
    talk.server.will(Garbage())
    with pytest.raises(ModelAnswerBroken):
        await talk.ask()


async def test_an_answer_without_end_is_cut_off(talk: Talk) -> None:
    talk.server.will(Endless())
    with pytest.raises(ModelAnswerBroken, match="does not end"):
        await talk.ask()


@pytest.mark.parametrize("provider", list(PROVIDERS))
async def test_a_silent_server_is_not_waited_for_longer_than_allowed(provider: str) -> None:
    until = Event()
    with provider_server(SPEECHES[provider], [Silence(until=until)]) as server:
        talk = talk_to(provider, server, timeout_s=1.0)
        try:
            with pytest.raises((ModelTimedOut, ModelUnreachable)):
                await talk.ask()
        finally:
            until.set()
            await talk.model.close()


@pytest.mark.parametrize("provider", list(PROVIDERS))
async def test_a_server_that_is_not_there_is_an_error(provider: str) -> None:
    with provider_server(SPEECHES[provider]) as server:
        talk = talk_to(provider, server)
    with pytest.raises(ModelUnreachable):
        await talk.ask()
    await talk.model.close()


async def test_a_missing_count_of_tokens_makes_the_cost_unknown(talk: Talk) -> None:
    if talk.provider == "anthropic":
        pytest.skip("its protocol has no reply without a count")
    talk.server.will(Answer(pieces=("ok",), usage=False))
    usage = (await talk.ask()).usage
    local = PROVIDERS[talk.provider].is_local
    assert usage.cost_usd == (Decimal(0) if local else None)


async def test_a_patient_model_asks_again_until_it_is_answered(talk: Talk) -> None:
    assert isinstance(talk.model, PatientModel)
    waited: list[float] = []

    async def sleep(seconds: float) -> None:
        waited.append(seconds)

    told: list[str] = []
    patient = PatientModel(
        model=talk.model.model, attempts=5, notice=told.append, sleep=sleep, jitter=lambda: 0.0
    )
    talk.server.will(
        Refusal(trouble=Trouble.OVERLOAD),
        Refusal(trouble=Trouble.RATE, headers={"Retry-After": "7"}),
        CutOff(),
        Answer(pieces=("at last",)),
    )
    reply = await patient.reply(TASK, TOOLS, talk.pieces.append)
    assert reply.text == "at last"
    assert waited == [0.5, 7.0, 2.0]
    assert len(told) == 3
