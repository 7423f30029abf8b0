"""Runs inside the build machine, in the guest's Python: standard library only."""
