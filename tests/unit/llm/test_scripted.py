"""The scripted model follows its script, reacts to what happened, and says what it is."""

import json
from pathlib import Path

import pytest

from luminaguard.domain.calls import ToolSpec
from luminaguard.errors import ModelError
from luminaguard.llm.choose import choose_model
from luminaguard.llm.model import Message, Role
from luminaguard.llm.scripted import ScriptedModel
from luminaguard.llm.settings import ModelSettings


def ignore(text: str) -> None:
    del text


TOOLS = (ToolSpec(name="shell", description="", parameters={}),)
pytestmark = pytest.mark.anyio


def script(path: Path, *turns: object) -> ScriptedModel:
    file = path / "script.json"
    file.write_text(json.dumps({"turns": turns}))
    return ScriptedModel.from_file(file)


async def test_turns_come_in_order_with_fresh_call_ids(tmp_path: Path) -> None:
    shell = {"tool": "shell", "arguments": {"command": "ls"}}
    model = script(tmp_path, {"say": "one", "calls": [shell, shell]}, {"say": "two"})
    first = await model.reply((), TOOLS, ignore)
    assert [call.arguments for call in first.calls] == [{"command": "ls"}] * 2
    assert len({call.call_id for call in first.calls}) == 2
    second = await model.reply((), TOOLS, ignore)
    assert (second.text, second.calls) == ("two", ())
    with pytest.raises(ModelError, match="no further turn"):
        await model.reply((), TOOLS, ignore)


async def test_a_script_stops_when_the_results_are_not_what_it_expects(tmp_path: Path) -> None:
    model = script(tmp_path, {"say": "go", "expect": "FAILED"}, {"say": "go", "expect": "FAILED"})
    old = Message(role=Role.TOOL, text="FAILED")
    said = Message(role=Role.ASSISTANT, text="")
    new = Message(role=Role.TOOL, text="OK")
    assert (await model.reply((said, new, old), TOOLS, ignore)).text == "go"
    with pytest.raises(ModelError, match="expected 'FAILED'"):
        await model.reply((old, said, new), TOOLS, ignore)


async def test_a_tool_that_is_not_offered_is_not_called(tmp_path: Path) -> None:
    model = script(tmp_path, {"calls": [{"tool": "mail", "arguments": {}}]})
    with pytest.raises(ModelError, match="'mail', which is not offered"):
        await model.reply((), TOOLS, ignore)


@pytest.mark.parametrize(
    "text", ["", "[]", '{"turns": 3}', '{"turns": [{"cals": []}]}', '{"turns": [{"calls": [{}]}]}']
)
def test_a_file_that_is_no_script_is_refused(tmp_path: Path, text: str) -> None:
    file = tmp_path / "bad.json"
    file.write_text(text)
    with pytest.raises(ModelError, match="is not a script"):
        ScriptedModel.from_file(file)


async def test_the_built_in_script_says_that_it_is_one() -> None:
    model = choose_model(ModelSettings(name="scripted"))
    tools = (ToolSpec(name="list_files", description="", parameters={}),)
    assert "scripted model" in (await model.reply((), tools, ignore)).text
    assert model.name == "scripted"


@pytest.mark.parametrize("name", ["gpt", "scripted:/missing.json", ""])
def test_an_unknown_model_is_an_error(name: str) -> None:
    with pytest.raises(ModelError):
        choose_model(ModelSettings(name=name))
