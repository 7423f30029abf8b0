"""What a verdict costs, how long the built-in policy takes to load, and how often it is wrong.

Run from the repository: `python benchmarks/policy.py [--json FILE] [--rounds N]`. Nothing is
executed but the policy. Times are milliseconds of processor time in one process (wall clock stands
beside it, and shows the machine's other work as well); the floor of the same run is what parsing
alone costs, without judging.
"""

import argparse
import gc
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from luminaguard.domain.calls import ToolCall
from luminaguard.domain.verdict import Verdict
from luminaguard.policy.cache import VerdictCache
from luminaguard.policy.context import CallContext
from luminaguard.policy.findings import verdict_of
from luminaguard.policy.policy import Policy
from luminaguard.policy.rules.book import Rulebook
from luminaguard.policy.rules.files import parsed as parsed_rules
from luminaguard.policy.rules.rule import Tier
from luminaguard.policy.shell.grammar import parsed
from luminaguard.policy.shell.reading import reading
from luminaguard.policy.tools import judge_tool

ROOT = Path(__file__).resolve().parent.parent
FILES = ("public.jsonl", "own.jsonl", "second.jsonl")
_LOADS = 7
_RULES = 60
"""Of a user, that every call is held against: most by command, some by path or host."""
Clock = Callable[[], float]
THREAD: Clock = time.thread_time

_LOAD = """
import json, sys, time
begin = time.process_time()
{body}
print((time.process_time() - begin) * 1000)
"""
_STEPS = {
    "import of the policy": "import luminaguard.policy.policy",
    "import and version": "from luminaguard.policy.policy import Policy\nPolicy().version",
    "first verdict, all loaded": (
        "from luminaguard.policy.policy import Policy, CallContext\n"
        "from luminaguard.domain.calls import ToolCall\n"
        "call = ToolCall(call_id='c', tool='shell', arguments={'command': 'ls -la | wc -l'})\n"
        "Policy().judge(call, CallContext(workspace='/w'))"
    ),
    "table of programs alone": (
        "pass\nfrom luminaguard.policy.programs.loader import built_in\n"
        "begin = time.process_time()\nbuilt_in()"
    ),
    "grammar alone": (
        "pass\nfrom luminaguard.policy.shell.grammar import parsed\n"
        "begin = time.process_time()\nparsed(b'ls')"
    ),
}


def rows(file: str) -> list[dict[str, Any]]:
    """Return the labelled commands of one file."""
    text = (ROOT / "tests" / "data" / "commands" / file).read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


def loading() -> dict[str, list[float]]:
    """Return how long each step takes, each time in a new process."""
    return {
        name: [
            float(
                subprocess.run(
                    [sys.executable, "-c", _LOAD.format(body=body)],
                    capture_output=True,
                    check=True,
                    text=True,
                ).stdout
            )
            for _ in range(_LOADS)
        ]
        for name, body in _STEPS.items()
    }


def some_rules() -> Policy:
    """Return the policy with 60 rules that fit none of the commands, and with no kept verdicts."""
    programs = ("git", "npm", "cargo", "make", "docker", "kubectl", "pip", "ssh", "curl", "rsync")
    kinds = {
        "deny": [f'command = "{name} {word} *"' for name in programs for word in ("ship", "wipe")],
        "ask": [f'path = "area{n}/**"' for n in range(10)]
        + [f'host = "*.host{n}.example"' for n in range(10)],
        "allow": [f'command = "{name} mend *"\npath = "src/**"' for name in programs]
        + [f'command = "tool{n} *"' for n in range(10)],
    }
    text = "".join(
        f'[[{action}]]\nname = "{action}-{number}"\n{condition}\n'
        for action, conditions in kinds.items()
        for number, condition in enumerate(conditions)
    )
    file = parsed_rules(Tier.USER, Path("policy.toml"), text.encode())
    if len(file.rules) != _RULES:
        raise ValueError(f"{len(file.rules)} rules")
    return Policy(Rulebook(files=(file,)), cache=VerdictCache(size=0))


def timed(
    work: Callable[[str], object], commands: Sequence[str], rounds: int, clock: Clock = THREAD
) -> list[float]:
    """Return the time of each call, in the order of rounds and commands."""
    for command in commands:
        work(command)
    gc.collect()
    gc.freeze()
    samples: list[float] = []
    for _ in range(rounds):
        for command in commands:
            begin = clock()
            work(command)
            samples.append(round((clock() - begin) * 1000, 4))
    gc.unfreeze()
    return samples


def rates(judge: Callable[[str], Verdict]) -> dict[str, dict[str, str]]:
    """Return for each file, tier and label how many rows are green."""
    found: dict[str, dict[str, str]] = {}
    for file in FILES:
        green: Counter[str] = Counter()
        total: Counter[str] = Counter()
        for row in rows(file):
            key = f"{row['tier']} {row['label']}"
            total[key] += 1
            green[key] += judge(row["command"]).lane == "green"
        found[file] = {key: f"{green[key]}/{total[key]}" for key in sorted(total)}
    return found


def summary(samples: list[float]) -> str:
    """Return median, percentiles and maximum."""
    cut = statistics.quantiles(samples, n=1000)
    return (
        f"median {statistics.median(samples):.3f}  p95 {cut[949]:.3f}  p99 {cut[989]:.3f}  "
        f"max {max(samples):.3f}  (n = {len(samples)})"
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()

    loads = loading()
    context = CallContext(workspace="/workspace")

    def judge(command: str) -> Verdict:
        reading.cache_clear()
        return verdict_of(judge_tool("shell", {"command": command}, context))

    held = some_rules()

    def judge_with_rules(command: str) -> Verdict:
        reading.cache_clear()
        call = ToolCall(call_id="c", tool="shell", arguments={"command": command})
        return held.judge(call, context)

    commands = [row["command"] for file in FILES for row in rows(file)]
    found = {
        "machine": f"{platform.platform()}, {os.cpu_count()} processors, load {os.getloadavg()}",
        "python": platform.python_version(),
        "rates (green/all)": rates(judge),
        "loading, ms": loads,
        "verdict, ms": timed(judge, commands, given.rounds),
        "verdict with 60 rules, ms": timed(judge_with_rules, commands, given.rounds),
        "verdict, wall clock, ms": timed(judge, commands, given.rounds, time.perf_counter),
        "floor: parsing alone, ms": timed(
            lambda text: parsed(text.encode()), commands, given.rounds
        ),
    }
    hostile = {
        name: timed(judge, [text], 3)
        for name, text in {
            "1 MB of 'a '": "a " * 500_000,
            "1 MB of (": "(" * 1_000_000,
            "10,000 characters of 'ls;'": "ls;" * 3333,
            "10,000 characters of 'x=1 '": "x=1 " * 2500,
            "300 nested $(": "echo $(" * 290 + "ls" + ")" * 290,
            "for in for": "for a in 1 2 3 4 5 6 7 8 9; do " * 40 + "ls" + "; done" * 40,
        }.items()
    }
    found["hostile texts, ms"] = hostile
    print(json.dumps(found["rates (green/all)"], indent=1))
    for name, samples in loads.items():
        print(f"{name}: median {statistics.median(samples):.1f}, least {min(samples):.1f} ms")
    for name in (
        "verdict, ms",
        "verdict with 60 rules, ms",
        "verdict, wall clock, ms",
        "floor: parsing alone, ms",
    ):
        print(f"{name}: {summary(found[name])}")
    for name, samples in hostile.items():
        print(f"{name}: {max(samples):.1f} ms")
    if given.json:
        given.json.write_text(json.dumps(found) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
