"""How to put the gateway into other clients, and take their own unguarded tools away."""

import json

CLIENTS = ("claude-code", "codex", "cursor", "vscode", "gemini")
_NAME = "luminaguard"


def instructions(client: str, command: tuple[str, ...]) -> str:
    """Return what to write where. `command`: starts the gateway on standard input and output."""
    program, *arguments = command
    entry = {"command": program, "args": arguments}
    standard = json.dumps({"mcpServers": {_NAME: entry}}, indent=2)
    texts = {
        "claude-code": (
            f".mcp.json in the project (or ~/.claude.json for all):\n\n{standard}\n\n"
            "Switch off its own unguarded tools, in .claude/settings.json:\n\n"
            + json.dumps(
                {
                    "permissions": {
                        "deny": ["Bash", "Write", "Edit", "NotebookEdit", "WebFetch"],
                        "allow": [f"mcp__{_NAME}"],
                    },
                    "env": {"MCP_TOOL_TIMEOUT": "600000"},
                },
                indent=2,
            )
            + "\n"
        ),
        "codex": (
            "~/.codex/config.toml:\n\n"
            f"[mcp_servers.{_NAME}]\n"
            f"command = {json.dumps(program)}\n"
            f"args = {json.dumps(arguments)}\n"
            "startup_timeout_sec = 60\ntool_timeout_sec = 600\n\n"
            "Switch off its own unguarded shell, in the same file, above all tables:\n\n"
            'sandbox_mode = "read-only"\napproval_policy = "never"\n\n'
            "[features]\nshell_tool = false\n"
        ),
        "cursor": (
            f".cursor/mcp.json in the project (or ~/.cursor/mcp.json for all):\n\n{standard}\n\n"
            "Switch off its own unguarded shell: Settings, Agents, Auto-run: 'Ask every time', and "
            "use a custom mode whose tools are this server's only (Terminal and Edit off).\n"
        ),
        "vscode": (
            ".vscode/mcp.json in the project:\n\n"
            + json.dumps({"servers": {_NAME: {"type": "stdio", **entry}}}, indent=2)
            + "\n\nSwitch off its own unguarded tools: in the chat's tools picker, untick "
            "'execute' and 'edit' below Built-In; and in .vscode/settings.json:\n\n"
            + json.dumps({"chat.tools.global.autoApprove": False}, indent=2)
            + "\n"
        ),
        "gemini": (
            ".gemini/settings.json in the project (or ~/.gemini/settings.json for all), which also "
            "switches off its own unguarded tools:\n\n"
            + json.dumps(
                {
                    "mcpServers": {_NAME: {**entry, "timeout": 600_000}},
                    "tools": {
                        "exclude": ["run_shell_command", "write_file", "replace", "web_fetch"]
                    },
                },
                indent=2,
            )
            + "\n"
        ),
    }
    return texts[client]
