"""gVisor: machines whose kernel is a program. For hosts without usable hardware virtualization.

`backend` offers it, `machine` is one guest, `sandbox` starts and ends runsc, `bundle` writes what
runsc is told, `jail` reads back what holds, `runsc` finds the program and knows its versions.
"""
