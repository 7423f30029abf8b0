"""The audit log under load: durable appends, queries and verification of a large log.

    python benchmarks/audit.py [--records 1000000] > benchmarks/results/FILE.json

Floors of the same run: for appends, writing and syncing as many small files; for verification,
hashing as many bytes. Records are made through the log itself, in groups. Raw samples are kept.
"""

import argparse
import json
import os
import platform
import random
import statistics
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path

from luminaguard.audit.log import AuditLog
from luminaguard.audit.query import Query
from luminaguard.audit.reader import AuditReader
from luminaguard.audit.records import Entry, RecordKind

GROUP = 500
TOOLS = ("shell", "python", "write_file", "edit_file", "read_file")
RISKS = ("low", "medium", "high", "critical")


def entry(number: int) -> Entry:
    """One green call's worth of facts, as the guard records them."""
    draw = random.Random(number)  # the same log each time
    return Entry(
        kind=RecordKind.CALL_REHEARSED,
        session_id=f"session-{number // 1000}",
        call_id=f"call-{number}",
        body={
            "call": {"tool": draw.choice(TOOLS), "arguments": {"command": f"make part-{number}"}},
            "verdict": {
                "lane": draw.choice(("green", "red")),
                "risk": draw.choice(RISKS),
                "rules": [draw.choice(("pure-read", "effect-unknown", "may-delete"))],
            },
            "text": "x" * draw.randrange(50, 300),
        },
    )


def per_second(count: int, work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return count / (time.perf_counter() - started)


def appended(log: AuditLog, count: int, first: int) -> float:
    groups = range(first, first + count, GROUP)

    def all_groups() -> None:
        for start in groups:
            log.append_all([entry(number) for number in range(start, start + GROUP)])

    return per_second(len(groups) * GROUP, all_groups)


def appended_by_many(log: AuditLog, count: int, threads: int) -> float:
    def one(number: int) -> None:
        made = entry(-number - 1)
        log.append(made.kind, made.body, session_id="many", call_id=made.call_id)

    def at_once() -> None:
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(one, range(count)))

    return per_second(count, at_once)


def synced_files(root: Path, count: int) -> float:
    def write() -> None:
        for number in range(count):
            with (root / f"floor-{number % 10}").open("wb") as file:
                file.write(b"x" * 400)
                file.flush()
                os.fsync(file.fileno())

    return per_second(count, write)


def queries(reader: AuditReader, total: int) -> dict[str, list[float]]:
    asked = {
        "session": Query(session_id=f"session-{total // 2000}"),
        "tool": Query(tool="python"),
        "tool and risk": Query(tool="write_file", risk="critical"),
        "rule and lane": Query(rule="may-delete", lane="red"),
        "call": Query(call_id=f"call-{total // 3}"),
        "newest 50": Query(limit=50),
        "text in a session": Query(session_id=f"session-{total // 4000}", text="part-"),
    }
    taken: dict[str, list[float]] = {name: [] for name in asked}
    for _ in range(20):
        for name, query in asked.items():
            started = time.perf_counter()
            reader.find(query)
            taken[name].append(round((time.perf_counter() - started) * 1000, 3))
    return taken


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--records", type=int, default=1_000_000)
    total = options.parse_args().records
    with tempfile.TemporaryDirectory(dir=Path.home()) as directory:
        root = Path(directory)
        log = AuditLog.open(root / "state")
        grouped = appended(log, total, 0)
        single = appended_by_many(log, 500, 16)
        log.close()
        floor = synced_files(root, 500)
        reader = AuditReader(root / "state")
        times = queries(reader, total)
        everything = sorted(value for taken in times.values() for value in taken)
        size = (root / "state" / "audit" / "log.db").stat().st_size
        started = time.perf_counter()
        verified = reader.verify()
        verify_s = time.perf_counter() - started
        started = time.perf_counter()
        sha256(bytes(size)).hexdigest()
        hash_s = time.perf_counter() - started
    print(
        json.dumps(
            {
                "machine": platform.platform(),
                "processors": os.cpu_count(),
                "load": os.getloadavg(),
                "records": total,
                "database_mib": round(size / 2**20),
                "appends_per_s_in_groups": round(grouped),
                "appends_per_s_one_by_one_from_16_threads": round(single),
                "floor_synced_files_per_s": round(floor),
                "query_p95_ms": everything[int(len(everything) * 0.95)],
                "query_median_ms": {k: statistics.median(v) for k, v in times.items()},
                "verify_s": round(verify_s, 2),
                "verified": verified.ok,
                "floor_hash_s": round(hash_s, 2),
                "queries_ms": times,
            },
            indent=1,
        )
    )


if __name__ == "__main__":
    main()
