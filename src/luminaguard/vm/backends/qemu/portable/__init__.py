"""QEMU where Linux's means are missing: macOS, and the parts that Windows will need.

`backend.py` is the `Hypervisor`: machines are booted, never saved, and paused ahead of use. Below
it, `engine.py` runs one, `command.py` writes the command line, `transport.py` and `peers.py`
connect to it, `process.py` and `job.py` end it whatever happens to its owner, `places.py` finds
QEMU, and `jail.py` names what does not stand around it. It runs on Linux too, which is how it is
tested.
"""
