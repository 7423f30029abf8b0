"""What stands around a QEMU process, and what it really has of that.

`jail.py` writes the confining command line, `jailroot.py` prepares the file system seen inside,
`syscalls.py` the filter of system calls, `apparmor.py` finds its profile. `berth.py` sets aside
what each machine has for itself: a user (`uids.py`, `subuids.py`) and a cgroup (`cgroups/`).
`process.py` starts and ends it all, `undertaker.py` remains when LuminaGuard itself is killed,
`readback.py` asks the kernel which layers hold, `descent.py` which processes descend from which,
`userns.py` explains a host that refuses namespaces. Nothing here knows what QEMU's options mean.
"""
