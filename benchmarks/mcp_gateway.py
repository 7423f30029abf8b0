"""What the gateway adds to a call: a direct client and the gateway, in turn, in one run.

    python benchmarks/mcp_gateway.py [--calls N] [--out FILE]

Green calls to a server in a process of its own, over standard input; the gateway in this process,
with its audit log on the disk of the state directory.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path

import anyio
from mcp.client.client import Client
from mcp.client.stdio import StdioServerParameters

from luminaguard.config import load
from luminaguard.gateway.configured import Configured, ServerFile
from luminaguard.gateway.proposal import definition_of
from luminaguard.gateways import opened_gateway
from luminaguard.policy.mcp.trust import TrustBook

SERVER = Path(__file__).parents[1] / "tests" / "mcp_servers.py"


async def once(client: Client, name: str) -> float:
    """Return the milliseconds of one call."""
    begun = time.perf_counter()
    result = await client.call_tool(name, {"text": "a"})
    if result.is_error:
        raise RuntimeError(f"{name} did not go through")
    return (time.perf_counter() - begun) * 1000


async def measure(calls: int) -> dict[str, list[float]]:
    """Return the samples of both ways."""
    with tempfile.TemporaryDirectory() as place:
        command = (sys.executable, str(SERVER), str(Path(place) / "calls"))
        settings = load({"HOME": place})
        server = Configured(name="notes", command=command)
        direct = StdioServerParameters(command=command[0], args=list(command[1:]))
        async with (
            Client(direct, mode="legacy") as plain,
            opened_gateway(settings, ServerFile(servers=(server,))) as front,
            Client(front.server(), mode="legacy") as guarded,
        ):
            upstream = front.catalogue.upstreams["notes"]
            pins = [definition_of(tool) for tool in upstream.tools.values()]
            TrustBook(directory=settings.state_dir / "mcp").trust("notes", server.identity, pins)
            samples: dict[str, list[float]] = {"direct": [], "gateway": []}
            for _ in range(calls):
                samples["direct"].append(await once(plain, "get_note"))
                samples["gateway"].append(await once(guarded, "notes__get_note"))
    return samples


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=300)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    found = anyio.run(measure, options.calls)
    for way, values in found.items():
        ordered = sorted(values)
        p95 = ordered[int(len(ordered) * 0.95)]
        print(f"{way}: p50 {statistics.median(values):.2f} ms, p95 {p95:.2f} ms")
    added = statistics.median(found["gateway"]) - statistics.median(found["direct"])
    print(f"added at p50: {added:.2f} ms")
    if options.out:
        options.out.write_text(json.dumps(found))
