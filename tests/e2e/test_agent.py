"""A model behind a real provider's protocol works on a project, through the real guard."""

import json
from collections.abc import Iterator

import pytest

from agentworld import AgentWorld
from luminaguard.agent.limits import Limits
from luminaguard.agent.loop import Stop
from luminaguard.domain.approval import End
from luminaguard.domain.outcome import OutcomeKind
from luminaguard.errors import ContextTooLong, ModelAuthError, ModelError, ModelUnreachable
from luminaguard.llm.choose import choose_model
from luminaguard.llm.model import ChatModel
from luminaguard.llm.settings import ModelSettings, ProviderSettings
from luminaguard.testing.approver import FixedApprover
from providers.answers import Answer, CutOff, Garbage, Refusal, Trouble
from providers.protocols import SPEECHES
from providers.server import ProviderServer, provider_server
from trees import fingerprint
from world import World

pytestmark = pytest.mark.anyio
DONE = Answer(pieces=("All ", "done."))


def calls(*given: tuple[str, object]) -> Answer:
    return Answer(calls=tuple((tool, json.dumps(arguments)) for tool, arguments in given))


WRITE = calls(("write_file", {"path": "new.txt", "content": "new"}))
LOOK = calls(("shell", {"command": "cat README"}))


@pytest.fixture
def house(world: World) -> AgentWorld:
    return AgentWorld(world)


@pytest.fixture(params=["anthropic", "openai", "google", "mistral"])
def server(request: pytest.FixtureRequest) -> Iterator[ProviderServer]:
    with provider_server(SPEECHES[request.param]) as found:
        yield found


@pytest.fixture
def openai() -> Iterator[ProviderServer]:
    with provider_server(SPEECHES["openai"]) as found:
        yield found


def model_at(server: ProviderServer, model: str = "m") -> ChatModel:
    name = server.speech.name
    url = server.url + ("/v1" if name == "openai" else "")
    environ = {f"{name.upper()}_API_KEY": "key"}
    settings = ModelSettings(name=f"{name}:{model}", attempts=1)
    return choose_model(settings, {name: ProviderSettings(base_url=url)}, environ=environ)


async def test_a_model_reads_writes_and_finishes(house: AgentWorld, server: ProviderServer) -> None:
    server.will(LOOK, WRITE, DONE)
    run = await house.run(model_at(server), FixedApprover([End.APPROVED]))
    assert (run.stop, run.answer) == (Stop.FINISHED, "All done.")
    assert [outcome.kind for outcome in run.outcomes] == [
        OutcomeKind.EXECUTED,
        OutcomeKind.COMMITTED,
    ]
    assert (house.world.workspace / "new.txt").read_text() == "new"
    first, second = server.speech.results_in(server.asked[-1].body)
    assert "read me" in first
    assert "approved and committed: 1 changed paths" in second
    assert house.seen.pieces == ["All ", "done."]
    assert house.world.verifies()


@pytest.mark.guarantee("G1")
async def test_a_rejection_and_its_reason_reach_the_model_and_nothing_else(
    house: AgentWorld, server: ProviderServer
) -> None:
    before = fingerprint(house.world.workspace)
    server.will(calls(("shell", {"command": "write new.txt PRIVATE"})), DONE)
    run = await house.run(model_at(server), FixedApprover([End.REJECTED]))
    assert run.outcomes[0].kind is OutcomeKind.DISCARDED
    assert fingerprint(house.world.workspace) == before
    (told,) = server.speech.results_in(server.asked[-1].body)
    assert told.startswith("not approved (rejected)")
    assert "ok" not in told.split()
    assert "new.txt" not in told


async def test_several_calls_of_one_reply_are_judged_one_by_one(
    house: AgentWorld, openai: ProviderServer
) -> None:
    three = calls(
        ("write_file", {"path": "a", "content": "a"}),
        ("write_file", {"path": "b", "content": "b"}),
        ("write_file", {"path": "c", "content": "c"}),
    )
    openai.will(three, DONE)
    ends = [End.APPROVED, End.REJECTED, End.APPROVED]
    run = await house.run(model_at(openai), FixedApprover(ends))
    kinds = [outcome.kind for outcome in run.outcomes]
    assert kinds == [OutcomeKind.COMMITTED, OutcomeKind.DISCARDED, OutcomeKind.COMMITTED]
    made = sorted(path.name for path in house.world.workspace.iterdir() if len(path.name) == 1)
    assert made == ["a", "c"]


async def test_every_reply_is_recorded_with_what_it_cost_and_nothing_it_said(
    house: AgentWorld, openai: ProviderServer
) -> None:
    openai.will(LOOK, DONE)
    run = await house.run(model_at(openai, "gpt-4o"))
    first, second = house.records("model.replied")
    assert first.body["model"] == second.body["model"] == "openai:gpt-4o"
    assert "All done." not in json.dumps(second.body)
    usage = first.body["usage"]
    assert isinstance(usage, dict)
    assert (usage["input_tokens"], usage["output_tokens"]) == (100, 20)
    assert run.usage.cost_usd is not None
    assert run.usage.cost_usd > 0
    assert run.usage.tokens == 240


async def test_the_transcript_grows_and_a_run_can_be_gone_on_with(
    house: AgentWorld, server: ProviderServer
) -> None:
    server.will(LOOK, Refusal(trouble=Trouble.SERVER))
    with pytest.raises(ModelError):
        await house.run(model_at(server))
    (transcript,) = house.transcripts()
    server.will(DONE)
    model = model_at(server)
    async with (
        house.world.session("deny") as session,
        session.agent(model=model, observer=house.seen, resume=transcript) as agent,
    ):
        run = await agent.run("go on")
    await model.close()
    assert run.stop is Stop.FINISHED
    assert run.usage.input_tokens == 200
    (told,) = server.speech.results_in(server.asked[-1].body)
    assert "read me" in told
    assert house.transcripts() == [transcript]


async def test_a_transcript_of_another_project_is_not_gone_on_with(
    house: AgentWorld, openai: ProviderServer
) -> None:
    openai.will(DONE)
    await house.run(model_at(openai))
    (transcript,) = house.transcripts()
    transcript.write_text(transcript.read_text().replace(str(house.world.workspace), "/other"))
    model = model_at(openai)
    async with house.world.session("deny") as session:
        with pytest.raises(Exception, match="that run worked on /other"):
            async with session.agent(model=model, observer=house.seen, resume=transcript):
                pass
    await model.close()


@pytest.mark.parametrize(
    ("step", "error"),
    [
        (Refusal(trouble=Trouble.AUTH), ModelAuthError),
        (Refusal(trouble=Trouble.CONTEXT), ContextTooLong),
        (Refusal(trouble=Trouble.QUOTA), ModelError),
        (Refusal(trouble=Trouble.SERVER), ModelError),
        (CutOff(answer=WRITE), ModelUnreachable),
        (Garbage(), ModelError),
    ],
)
async def test_a_model_that_fails_leaves_a_transcript_and_no_effect(
    house: AgentWorld,
    openai: ProviderServer,
    step: Refusal | CutOff | Garbage,
    error: type[ModelError],
) -> None:
    before = fingerprint(house.world.workspace)
    openai.will(LOOK, step)
    with pytest.raises(error):
        await house.run(model_at(openai), FixedApprover([]))
    assert fingerprint(house.world.workspace) == before
    (transcript,) = house.transcripts()
    assert "read me" in transcript.read_text()
    assert house.world.kinds()[-1] == "session.ended"
    assert house.world.verifies()


@pytest.mark.parametrize(
    ("answer", "rule"),
    [
        (calls(("send_mail", {"to": "x"})), "unknown-tool"),
        (calls(("shell", {"cmd": "ls"})), "bad-arguments"),
        (calls(("shell", {"command": ["ls"]})), "bad-arguments"),
        (Answer(calls=(("shell", '{"command": "write x y"'),)), "bad-arguments"),
        (Answer(calls=(("shell", '["write x y"]'),)), "bad-arguments"),
    ],
)
async def test_a_call_that_does_not_fit_is_denied_and_the_model_is_told_why(
    house: AgentWorld, openai: ProviderServer, answer: Answer, rule: str
) -> None:
    openai.will(answer, DONE)
    run = await house.run(model_at(openai), FixedApprover([]))
    assert run.outcomes[0].kind is OutcomeKind.DENIED
    assert run.outcomes[0].verdict.rules == (rule,)
    (told,) = openai.speech.results_in(openai.asked[-1].body)
    assert told.startswith("denied by policy")


@pytest.mark.parametrize(
    ("limits", "stop"),
    [(Limits(steps=2), Stop.STEPS), (Limits(tokens=150), Stop.TOKENS)],
)
async def test_a_spent_budget_ends_the_run_with_its_reason(
    house: AgentWorld, openai: ProviderServer, limits: Limits, stop: Stop
) -> None:
    openai.will(*[LOOK] * 5)
    run = await house.run(model_at(openai), limits=limits)
    assert run.stop is stop
    assert len(openai.asked) == 2
