"""Micro-VMs run by Firecracker: REST over a unix socket, its jailer, snapshots, a vsock channel.

`api/` is the client, typed after the published description. `host.py`, `version.py` and
`jail/` find the programs and start them confined, `room.py` is the directory that one machine
shares with the host, `vsock.py` and `pipes.py` are what comes out of it. `kernel.py` and `files.py`
ready what a guest boots from; `template.py` and `pagefaults.py` give clones their memory.
`machine.py` and `backend.py` put it all behind the same contract as every other backend.
"""
