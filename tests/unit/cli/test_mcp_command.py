"""`luminaguard mcp`: trust is given, seen and taken back, and a changed definition is shown."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from luminaguard.cli.main import COMMANDS, cli
from luminaguard.cli.mcp import mcp
from luminaguard.config import Settings
from luminaguard.errors import PolicyError
from luminaguard.policy.mcp import ToolDefinition
from luminaguard.policy.mcp.trust import TrustBook

READ = {"name": "get_file", "description": "Gets a file.", "annotations": {"readOnlyHint": True}}
WRITE = {"name": "write_file", "description": "Writes a file.", "inputSchema": {"type": "object"}}
HERE = ("--from", "npx files-server")


def settings(root: Path) -> Settings:
    return Settings(state_dir=root / "state", cache_dir=root / "c", config_file=root / "x.toml")


def tools(root: Path, *definitions: dict[str, object], whole: object = None) -> str:
    path = root / "tools.json"
    path.write_text(json.dumps(whole if whole is not None else {"tools": definitions}))
    return str(path)


def run(root: Path, *arguments: str) -> Result:
    return CliRunner().invoke(mcp, arguments, obj=settings(root))


def trust(root: Path, *definitions: dict[str, object], more: tuple[str, ...] = ()) -> Result:
    return run(root, "trust", "files", *HERE, "--tools", tools(root, *definitions), *more)


def is_trusted(root: Path, definition: dict[str, object]) -> bool:
    known = ToolDefinition(
        name=str(definition["name"]),
        description=str(definition["description"]),
        annotations=definition.get("annotations", {}),  # type: ignore[arg-type]
    )
    book = TrustBook(directory=settings(root).trust_dir)
    return book.is_trusted("files", "npx files-server", known)


def test_a_server_is_trusted_listed_and_no_longer_trusted(tmp_path: Path) -> None:
    assert "no MCP server is trusted" in run(tmp_path, "list").stdout
    told = trust(tmp_path, READ, WRITE)
    assert told.exit_code == 0, told.output
    assert "files  trusted, from npx files-server" in told.stdout
    listed = run(tmp_path, "list").stdout
    assert listed == told.stdout
    rows = listed.splitlines()
    assert "get_file  runs unasked" in rows[1]
    assert "write_file  asked about" in rows[2]
    (one,) = json.loads(run(tmp_path, "list", "--json").stdout)["servers"]
    assert [tool["runs_unasked"] for tool in one["tools"]] == [True, False]
    assert is_trusted(tmp_path, READ)
    assert run(tmp_path, "untrust", "files").exit_code == 0
    assert not is_trusted(tmp_path, READ)
    again = run(tmp_path, "untrust", "files")
    assert isinstance(again.exception, PolicyError)


@pytest.mark.guarantee("G5")
@pytest.mark.parametrize("name", ["description", "inputSchema", "annotations"])
def test_a_changed_definition_is_shown_and_not_accepted_by_itself(
    tmp_path: Path, name: str
) -> None:
    trust(tmp_path, READ)
    changed = {**READ, name: "Gets a file\u202e." if name == "description" else {"title": "x"}}
    refused = trust(tmp_path, changed)
    assert isinstance(refused.exception, PolicyError)
    assert "get_file is changed:" in refused.stderr
    assert "\u202e" not in refused.output
    assert is_trusted(tmp_path, READ)
    compared = run(tmp_path, "list", "files", "--tools", tools(tmp_path, changed))
    assert (compared.exit_code, "get_file is changed:" in compared.stdout) == (1, True)
    assert trust(tmp_path, changed, more=("--accept",)).exit_code == 0
    assert not is_trusted(tmp_path, READ)
    assert run(tmp_path, "list", "files", "--tools", tools(tmp_path, changed)).exit_code == 0


@pytest.mark.guarantee("G5")
def test_new_gone_and_moved_are_changes_too(tmp_path: Path) -> None:
    trust(tmp_path, READ)
    told = trust(tmp_path, WRITE)
    assert isinstance(told.exception, PolicyError)
    assert "write_file is new:" in told.stderr
    assert "get_file is gone" in told.stderr
    given = tools(tmp_path, READ)
    moved = run(tmp_path, "trust", "files", "--from", "npx evil", "--tools", given)
    assert isinstance(moved.exception, PolicyError)
    assert "it comes from npx evil, not from npx files-server" in moved.stderr
    assert run(tmp_path, "list", "files", "--from", "npx evil").exit_code == 1
    assert trust(tmp_path, READ).exit_code == 0, "the same again is no change"


def test_a_server_that_is_not_trusted_is_said_to_be_so(tmp_path: Path) -> None:
    told = run(tmp_path, "list", "mail")
    assert told.exit_code == 1
    assert "mail is not trusted" in told.stdout
    assert run(tmp_path, "list", "--from", "x").exit_code == 2


@pytest.mark.parametrize(
    "document",
    [
        {}, [], {"tools": []}, {"tools": {}}, [1], [{}], [{"name": ""}], [{"name": 1}],
        [{"name": "a", "description": 1}], [{"name": "a", "inputSchema": []}],
        [{"name": "a", "annotations": "x"}], [{"name": "a"}, {"name": "a"}],
        [{"name": "a", "annotations": {"x": float("nan")}}],
    ],
)  # fmt: skip
def test_what_is_not_a_list_of_tools_trusts_nothing(tmp_path: Path, document: object) -> None:
    told = run(tmp_path, "trust", "files", *HERE, "--tools", tools(tmp_path, whole=document))
    assert isinstance(told.exception, PolicyError)
    assert "cannot be read as tools" in str(told.exception)
    assert not settings(tmp_path).trust_dir.exists()


@pytest.mark.parametrize("name", ["", " ", "fi\u200bles", "x" * 101, "a\nb"])
def test_a_name_that_is_not_what_it_looks_like_is_refused(tmp_path: Path, name: str) -> None:
    told = run(tmp_path, "trust", name, *HERE, "--tools", tools(tmp_path, READ))
    assert isinstance(told.exception, PolicyError)
    assert not settings(tmp_path).trust_dir.exists()


def test_a_damaged_file_names_the_command_that_begins_anew(tmp_path: Path) -> None:
    trust(tmp_path, READ)
    (settings(tmp_path).trust_dir / "servers.json").write_text("{")
    told = run(tmp_path, "list")
    assert isinstance(told.exception, PolicyError)
    assert "luminaguard mcp forget --all" in str(told.exception.hint)
    assert run(tmp_path, "forget").exit_code == 2
    assert run(tmp_path, "forget", "--all").exit_code == 0
    assert run(tmp_path, "list").exit_code == 0


def test_the_command_is_there() -> None:
    assert "mcp" in COMMANDS
    assert "trust" in CliRunner().invoke(cli, ["mcp", "--help"]).output
