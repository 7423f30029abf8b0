"""Export AgentDojo's replayable calls for tests/data/mcp/agentdojo.json.

AgentDojo brings every model vendor's library along; the calls that its tasks would make need none
of them. So it is run once, in an environment of its own, and its calls are kept:

    python -m venv build/agentdojo
    build/agentdojo/bin/pip install --no-deps agentdojo==0.1.35
    build/agentdojo/bin/pip install pydantic pyyaml docstring-parser deepdiff email-validator
    build/agentdojo/bin/python tools/export_agentdojo.py > tests/data/mcp/agentdojo.json
"""

import importlib
import importlib.abc
import json
import sys
from importlib.machinery import ModuleSpec
from types import ModuleType
from unittest.mock import MagicMock

BENCHMARK = "v1.2.2"
NOT_NEEDED = frozenset((
    "anthropic", "cohere", "google", "langchain", "openai", "dotenv", "requests", "rich",
    "tenacity", "torch", "transformers", "vertexai",
))  # fmt: skip


class NotNeeded(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Stands in for the libraries of model vendors, which no ground truth calls."""

    def find_spec(self, fullname: str, *_: object) -> ModuleSpec | None:
        """Answer for what is not needed, and leave the rest to the others."""
        if fullname.split(".", maxsplit=1)[0] not in NOT_NEEDED:
            return None
        return ModuleSpec(fullname, self, is_package=True)

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        """Return something that has every name."""
        module = MagicMock(name=spec.name)
        module.__path__, module.__spec__ = [], spec
        return module

    def exec_module(self, module: ModuleType) -> None:
        """Nothing runs."""


def main() -> None:
    """Print the tools and tasks of every suite, with their source and license."""
    sys.meta_path.append(NotNeeded())
    load_suites = importlib.import_module("agentdojo.task_suite.load_suites")
    suites: dict[str, object] = {}
    for name, suite in sorted(load_suites.get_suites(BENCHMARK).items()):
        tasks: dict[str, list[object]] = {"user_tasks": [], "injection_tasks": []}
        for kind, found in tasks.items():
            for task_id, task in getattr(suite, kind).items():
                environment = suite.load_and_inject_default_environment({})
                if hasattr(task, "init_environment"):  # user tasks only
                    environment = task.init_environment(environment)
                calls = [
                    {"tool": call.function, "arguments": dict(call.args)}
                    for call in task.ground_truth(environment)
                ]
                found.append({"id": task_id, "calls": calls})
        tools = [
            {
                "name": tool.name,
                "description": tool.description,
                "input_schema": tool.parameters.model_json_schema(),
            }
            for tool in suite.tools
        ]
        suites[name] = {"tools": tools, **tasks}
    document = {
        "source": f"AgentDojo 0.1.35, benchmark {BENCHMARK}",
        "license": "MIT License, Copyright (c) 2024 Edoardo Debenedetti, Jie Zhang, "
        "Mislav Balunovic, Luca Beurer-Kellner, Marc Fischer, and Florian Tramèr",
        "made_by": "tools/export_agentdojo.py",
        "suites": suites,
    }
    json.dump(document, sys.stdout, indent=1, sort_keys=True, default=str)
    print()


if __name__ == "__main__":
    main()
