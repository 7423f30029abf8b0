"""The QEMU backend: the default, since it runs on any machine.

`backend.py` is the `Hypervisor`, `machine.py` the `MicroVM`. Below them, from the top:
`cold.py` boots, `launch.py` starts a QEMU and checks it, `template.py` and `memory.py` keep saved
guests, `accelerator.py` picks by booting, `command.py` writes the command line, `qmp.py` talks to
QEMU itself, and `confinement/` stands around its process.
"""
