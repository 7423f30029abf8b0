"""From the string that a user gives to a model."""

from pathlib import Path

from luminaguard.errors import ModelError
from luminaguard.llm.model import ChatModel
from luminaguard.llm.scripted import LOOK_AROUND, ScriptedModel


def choose_model(name: str) -> ChatModel:
    """Return the model named `scripted` or `scripted:FILE`.

    Raises:
        ModelError: the name means no model.
    """
    kind, _, rest = name.partition(":")
    if kind == "scripted":
        return ScriptedModel.from_file(Path(rest)) if rest else ScriptedModel(LOOK_AROUND)
    raise ModelError(
        f"unknown model {name!r}", hint="this version has 'scripted' and 'scripted:FILE'"
    )
