"""What stands around a QEMU process, and what it really has of that.

`jail.py` writes the confining command line, `jailroot.py` prepares the file system seen inside,
`uids.py` lends users of their own, `process.py` starts and ends it all, `undertaker.py` remains
when LuminaGuard itself is killed, `readback.py` asks the kernel which layers hold, `userns.py`
explains a host that refuses namespaces. Nothing here knows what QEMU's options mean.
"""
