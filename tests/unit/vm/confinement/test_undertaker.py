"""Marked processes end with the process that marked them, and nobody else's do."""

import os
import subprocess
import sys
import time

from luminaguard.vm.confinement.undertaker import Undertaker

KILLED = """
import subprocess, sys, time
from luminaguard.vm.confinement.undertaker import Undertaker
undertaker = Undertaker()
undertaker.start()
one = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)", undertaker.mark])
sys.stdout.write(f"{one.pid} {undertaker.mark}\\n")
sys.stdout.flush()
time.sleep(60)
"""
LIMIT_S = 10.0


def marked(mark: str) -> list[int]:
    found: list[int] = []
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                with open(f"/proc/{entry}/cmdline", "rb") as source:
                    if mark.encode() in source.read().split(b"\0"):
                        found.append(int(entry))
            except OSError:
                continue
    return found


def sleeper(mark: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)", mark])


def test_a_killed_owner_takes_its_marked_processes_along() -> None:
    bystander = sleeper("luminaguard-other")
    owner = subprocess.Popen([sys.executable, "-c", KILLED], stdout=subprocess.PIPE, text=True)
    assert owner.stdout is not None
    pid, mark = owner.stdout.readline().split()
    limit = time.monotonic() + LIMIT_S
    while not (seen := marked(mark)):  # a program that has just been started has no words yet
        assert time.monotonic() < limit
        time.sleep(0.02)
    owner.kill()
    owner.communicate(timeout=LIMIT_S)
    assert seen == [int(pid)]
    limit = time.monotonic() + LIMIT_S
    while marked(mark):
        assert time.monotonic() < limit
        time.sleep(0.02)
    assert bystander.poll() is None
    bystander.kill()
    bystander.wait(timeout=LIMIT_S)


def test_an_orderly_end_touches_nothing() -> None:
    undertaker = Undertaker()
    undertaker.start()
    one = sleeper(undertaker.mark)
    undertaker.close()
    undertaker.close()
    assert one.poll() is None
    one.kill()
    one.wait(timeout=LIMIT_S)
