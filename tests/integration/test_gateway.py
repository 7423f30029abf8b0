"""The gateway between a client and servers: what reaches a server, and what is written down."""

from pathlib import Path
from typing import Any

import anyio
import mcp_types as types
import pytest
from mcp.client.session import ClientRequestContext
from mcp.shared.exceptions import MCPError

from gatewayworld import NOTES, Waiting, gateway_world
from luminaguard.domain.approval import End
from luminaguard.testing.approver import FixedApprover
from mcp_servers import GET_NOTE, Counting, said

pytestmark = pytest.mark.anyio


@pytest.mark.guarantee("G1")
async def test_a_red_call_reaches_the_server_once_it_is_approved(tmp_path: Path) -> None:
    server, approver = Counting(), FixedApprover([End.APPROVED])
    async with gateway_world(tmp_path, {NOTES: server}, approver) as world:
        assert await world.call("notes__send_mail", text="hi") == ("send_mail done", False)
    assert server.calls == ["send_mail"]


@pytest.mark.guarantee("G1")
@pytest.mark.parametrize("end", [End.REJECTED, End.EXPIRED, End.FAILED])
async def test_nothing_reaches_the_server_for_any_end_but_approved(
    tmp_path: Path, end: End
) -> None:
    server, approver = Counting(), FixedApprover([end])
    async with gateway_world(tmp_path, {NOTES: server}, approver) as world:
        text, is_error = await world.call("notes__send_mail", text="hi")
    assert (server.calls, is_error) == ([], True)
    assert f"not approved ({end})" in text


async def test_a_read_of_a_trusted_server_is_not_asked_about(tmp_path: Path) -> None:
    server, approver = Counting(), FixedApprover([])
    async with gateway_world(tmp_path, {NOTES: server}, approver) as world:
        world.trust_all()
        assert await world.call("notes__get_note", text="a") == ("get_note done", False)
    assert approver.cards == []


@pytest.mark.guarantee("G5")
async def test_a_servers_own_word_that_it_reads_does_not_make_it_green(tmp_path: Path) -> None:
    server, approver = Counting(tools=[GET_NOTE]), FixedApprover([End.REJECTED])
    async with gateway_world(tmp_path, {NOTES: server}, approver) as world:
        await world.call("notes__get_note", text="a")
    assert (server.calls, len(approver.cards)) == ([], 1)


@pytest.mark.guarantee("G2")
async def test_the_card_shows_all_arguments_and_binds_server_and_definition(
    tmp_path: Path,
) -> None:
    server, approver = Counting(), FixedApprover([End.REJECTED])
    async with gateway_world(tmp_path, {NOTES: server}, approver) as world:
        await world.call("notes__send_mail", text="line\nline")
        definition = world.front.catalogue.definition(world.upstreams[NOTES], "send_mail")
    (card,) = approver.cards
    assert definition is not None
    assert card.request.tool_definition == definition.digest
    assert card.request.server == "notes: in this process"
    assert ' "text": "line\\nline"' in card.predicted
    assert "Send a mail." in card.prose
    assert card.call.tool == "notes__send_mail"


@pytest.mark.guarantee("G7")
async def test_every_end_is_recorded_after_what_led_there(tmp_path: Path) -> None:
    server, approver = Counting(), FixedApprover([End.APPROVED])
    async with gateway_world(tmp_path, {NOTES: server}, approver) as world:
        await world.call("notes__send_mail", text="hi")
        kinds = [record.kind for record in world.records()]
    assert kinds[-4:] == ["call.proposed", "approval.requested", "approval.decided", "call.outcome"]


@pytest.mark.guarantee("G7")
async def test_a_call_that_cannot_be_recorded_is_not_sent(tmp_path: Path) -> None:
    server = Counting()
    async with gateway_world(tmp_path, {NOTES: server}) as world:
        world.trust_all()
        world.front.gate.recorder.log.close()
        with pytest.raises(MCPError):
            await world.call("notes__get_note", text="a")
    assert server.calls == []


async def test_a_users_rule_forbids_a_tool(tmp_path: Path) -> None:
    server = Counting()
    async with gateway_world(tmp_path, {NOTES: server}) as world:
        world.rules.write_text('version = 1\n[[deny]]\nserver = "notes"\ntool = "send_mail"\n')
        text, is_error = await world.call("notes__send_mail", text="hi")
    assert (server.calls, is_error) == ([], True)
    assert "forbidden by policy" in text, text


@pytest.mark.guarantee("G2")
async def test_rules_that_change_while_a_call_is_held_void_its_approval(tmp_path: Path) -> None:
    server, approver = Counting(), Waiting()
    ends: list[tuple[str, bool]] = []
    async with (
        gateway_world(tmp_path, {NOTES: server}, approver) as world,
        anyio.create_task_group() as tasks,
    ):

        async def held() -> None:
            ends.append(await world.call("notes__send_mail", text="hi"))

        tasks.start_soon(held)
        with anyio.fail_after(20):
            await approver.asked.wait()
            world.rules.write_text('version = 1\n[[deny]]\nserver = "notes"\ntool = "x"\n')
            approver.may_answer.set()
    assert server.calls == []
    assert "changed while the call was pending" in ends[0][0]


async def test_a_held_call_that_the_client_gives_up_is_withdrawn(tmp_path: Path) -> None:
    server, approver = Counting(), Waiting()
    async with gateway_world(tmp_path, {NOTES: server}, approver) as world:
        async with anyio.create_task_group() as tasks:

            async def held() -> None:
                await world.call("notes__send_mail", text="hi")

            tasks.start_soon(held)
            with anyio.fail_after(20):
                await approver.asked.wait()
            tasks.cancel_scope.cancel()
        with anyio.fail_after(20):
            while world.records()[-1].kind != "call.outcome":  # noqa: ASYNC110 - a log has no event
                await anyio.sleep(0.01)
        kinds = [record.kind for record in world.records()]
    assert server.calls == []
    assert kinds[-2:] == ["approval.decided", "call.outcome"]


async def test_a_held_call_gives_signs_of_life(tmp_path: Path) -> None:
    approver = Waiting()
    heard: list[float] = []

    async def on_progress(progress: float, total: float | None, message: str | None) -> None:
        del total, message
        heard.append(progress)
        if len(heard) == 3:
            approver.may_answer.set()

    async with gateway_world(tmp_path, {NOTES: Counting()}, approver, beat_s=0.01) as world:
        with anyio.fail_after(20):
            await world.client.call_tool(
                "notes__send_mail", {"text": "hi"}, progress_callback=on_progress
            )
    assert heard == sorted(set(heard))
    assert len(heard) >= 3


async def test_a_hundred_calls_at_once_are_each_answered_once(tmp_path: Path) -> None:
    server = Counting()
    async with gateway_world(tmp_path, {NOTES: server}) as world:
        world.trust_all()
        texts: list[str] = []

        async def one() -> None:
            texts.append((await world.call("notes__get_note", text="a"))[0])

        with anyio.fail_after(60):
            async with anyio.create_task_group() as tasks:
                for _ in range(100):
                    tasks.start_soon(one)
    assert len(server.calls) == 100
    assert texts == ["get_note done"] * 100


async def test_a_server_that_breaks_off_leaves_the_outcome_unknown(tmp_path: Path) -> None:
    def breaks(context: Any, arguments: dict[str, Any]) -> types.CallToolResult:
        del context, arguments
        raise MCPError(types.CONNECTION_CLOSED, "gone")

    server, approver = Counting(answers={"send_mail": breaks}), FixedApprover([End.APPROVED])
    async with gateway_world(tmp_path, {NOTES: server}, approver) as world:
        text, is_error = await world.call("notes__send_mail", text="hi")
        last = world.records()[-1]
    assert is_error
    assert text.startswith("outcome unknown")
    assert last.body["outcome"] == "unknown"


def asks_the_user(context: Any, arguments: dict[str, Any]) -> Any:
    del arguments

    async def ask() -> types.CallToolResult:
        try:
            answer = await context.session.elicit_form(
                "Your password?", {"type": "object", "properties": {}}, context.request_id
            )
        except MCPError as error:
            return said(f"refused: {error.message}")
        return said(f"answered: {answer.action}")

    return ask()


async def accepts(context: ClientRequestContext, params: Any) -> types.ElicitResult:
    del context, params
    return types.ElicitResult(action="accept", content={})


async def test_a_server_may_ask_during_an_approved_call(tmp_path: Path) -> None:
    server = Counting(answers={"send_mail": asks_the_user})
    client = {"elicitation_callback": accepts}
    approver = FixedApprover([End.APPROVED])
    async with gateway_world(tmp_path, {NOTES: server}, approver, client=client) as world:
        assert (await world.call("notes__send_mail", text="hi"))[0] == "answered: accept"


@pytest.mark.guarantee("G1")
async def test_a_server_may_not_ask_during_a_call_that_passed_as_a_read(tmp_path: Path) -> None:
    server = Counting(answers={"get_note": asks_the_user})
    client = {"elicitation_callback": accepts}
    async with gateway_world(tmp_path, {NOTES: server}, client=client) as world:
        world.trust_all()
        assert (await world.call("notes__get_note", text="hi"))[0].startswith("refused")
