"""A server on pipes, from the standard library alone: honest, or hostile as its argument says."""

import json
import os
import signal
import subprocess
import sys
import time
from typing import Any

HOW = sys.argv[1] if len(sys.argv) > 1 else "honest"


def say(message: object) -> None:
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()


def result(asked: dict[str, Any], value: object) -> None:
    say({"jsonrpc": "2.0", "id": asked["id"], "result": value})


def text(words: str) -> dict[str, Any]:
    return {"content": [{"type": "text", "text": words}]}


def initialize(asked: dict[str, Any]) -> None:
    if HOW == "silent":
        time.sleep(60)
    if HOW == "dies":
        sys.stderr.write("Error: no license\n")
        sys.exit(3)
    result(
        asked,
        {
            "protocolVersion": "2025-11-25",
            "capabilities": {"tools": {"listChanged": True}},
            "serverInfo": {"name": "pipes", "version": "1"},
        },
    )


def call(asked: dict[str, Any]) -> None:
    name, arguments = asked["params"]["name"], asked["params"].get("arguments") or {}
    match name:
        case "echo":
            result(asked, text(str(arguments.get("text", ""))))
        case "environment":
            result(asked, text(json.dumps(dict(os.environ))))
        case "where":
            result(asked, text(os.getcwd()))
        case "progress":
            token = asked["params"]["_meta"]["progressToken"]
            for done in range(3):
                say(
                    {
                        "jsonrpc": "2.0",
                        "method": "notifications/progress",
                        "params": {"progressToken": token, "progress": done, "total": 3},
                    }
                )
            result(asked, text("done"))
        case "child":
            child = subprocess.Popen([sys.executable, "-S", "-c", "import time; time.sleep(60)"])
            result(asked, text(str(child.pid)))
        case "change":
            say({"jsonrpc": "2.0", "method": "notifications/tools/list_changed"})
            result(asked, text("changed"))
        case "exit":
            sys.exit(1)
        case _:
            hostile(name, asked)


def hostile(name: str, asked: dict[str, Any]) -> None:  # noqa: C901 - one attack after another
    match name:
        case "huge":
            result(asked, text("x" * 4_000_000))
        case "endless":
            while True:
                sys.stdout.write("x" * 65_536)
        case "deep":
            sys.stdout.write("[" * 100_000 + "]" * 100_000 + "\n")
            sys.stdout.flush()
        case "twice":
            result(asked, text("first"))
            result(asked, text("second"))
        case "stranger":
            say({"jsonrpc": "2.0", "id": 424_242, "result": text("yours?")})
        case "flood":
            while True:
                say({"jsonrpc": "2.0", "method": "notifications/tools/list_changed"})
        case "chatter":
            sys.stderr.write("e" * 1_000_000 + "the end\n")
            sys.stderr.flush()
            result(asked, text("said"))
        case "mute":
            pass
        case _:
            error = {"code": -32602, "message": "Unknown \x1b[31mtool"}
            say({"jsonrpc": "2.0", "id": asked["id"], "error": error})


def serve() -> None:
    if HOW == "greets":
        sys.stdout.write("Welcome to pipes!\n")
    if HOW == "stubborn":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    for line in sys.stdin:
        asked = json.loads(line)
        match asked.get("method"):
            case "initialize":
                initialize(asked)
            case "tools/list":
                result(asked, {"tools": [{"name": "echo", "inputSchema": {"type": "object"}}]})
            case "tools/call":
                call(asked)
            case _ if "id" in asked and "method" in asked:
                error = {"code": -32601, "message": "unknown method"}
                say({"jsonrpc": "2.0", "id": asked["id"], "error": error})
            case _:
                pass
    if HOW == "stubborn":
        time.sleep(60)


serve()
