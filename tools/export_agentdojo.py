"""Export AgentDojo's replayable calls for tests/data/mcp/agentdojo.json.

AgentDojo brings every model vendor's library along; the calls that its tasks would make need none
of them. So it is run once, in an environment of its own, and its calls are kept:

    python -m venv build/agentdojo
    build/agentdojo/bin/pip install --no-deps agentdojo==0.1.35
    build/agentdojo/bin/pip install pydantic pyyaml docstring-parser deepdiff email-validator
    build/agentdojo/bin/python tools/export_agentdojo.py > tests/data/mcp/agentdojo.json
"""

import importlib.abc
import importlib.machinery
import json
import sys
from typing import Any
from unittest.mock import MagicMock

BENCHMARK = "v1.2.2"
NOT_NEEDED = frozenset((
    "anthropic", "cohere", "google", "langchain", "openai", "dotenv", "requests", "rich", "tenacity",
    "torch", "transformers", "vertexai",
))  # fmt: skip


class NotNeeded(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Stands in for the libraries of model vendors, which no ground truth calls."""

    def find_spec(self, fullname: str, path: object = None, target: object = None) -> Any:
        """Answer for what is not needed, and leave the rest to the others."""
        if fullname.split(".")[0] not in NOT_NEEDED:
            return None
        return importlib.machinery.ModuleSpec(fullname, self, is_package=True)

    def create_module(self, spec: Any) -> Any:
        """Return something that has every name."""
        module = MagicMock(name=spec.name)
        module.__path__, module.__spec__ = [], spec
        return module

    def exec_module(self, module: Any) -> None:
        """Nothing runs."""


def exported() -> dict[str, Any]:
    """Return suite -> tools, user tasks and injection tasks with the calls that solve them."""
    from agentdojo.task_suite.load_suites import get_suites  # noqa: PLC0415 - after the stand-ins

    suites: dict[str, Any] = {}
    for name, suite in sorted(get_suites(BENCHMARK).items()):
        suites[name] = {
            "tools": [
                {
                    "name": tool.name,
                    "description": tool.description,
                    "input_schema": tool.parameters.model_json_schema(),
                }
                for tool in suite.tools
            ],
            "user_tasks": tasks_in(suite, suite.user_tasks),
            "injection_tasks": tasks_in(suite, suite.injection_tasks),
        }
    return suites


def tasks_in(suite: Any, tasks: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the calls of each task, in order, as its ground truth makes them."""
    found: list[dict[str, Any]] = []
    for task_id, task in tasks.items():
        environment = suite.load_and_inject_default_environment({})
        if hasattr(task, "init_environment"):  # user tasks only
            environment = task.init_environment(environment)
        calls = [
            {"tool": call.function, "arguments": dict(call.args)}
            for call in task.ground_truth(environment)
        ]
        found.append({"id": task_id, "calls": calls})
    return found


def main() -> None:
    """Print the export with its source and license."""
    sys.meta_path.append(NotNeeded())
    document = {
        "source": f"AgentDojo 0.1.35 (PyPI), benchmark {BENCHMARK}; MIT License, "
        "Copyright (c) 2024 Edoardo Debenedetti, Jie Zhang, Mislav Balunovic, Luca Beurer-Kellner, "
        "Marc Fischer, Florian Tramer",
        "made_by": "tools/export_agentdojo.py",
        "suites": exported(),
    }
    json.dump(document, sys.stdout, indent=1, sort_keys=True, default=str)
    print()


if __name__ == "__main__":
    main()
