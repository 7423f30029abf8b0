"""A strict double of Firecracker: its interface, its order of states, its socket device.

It answers on a real unix socket, checks every request against the published description (trimmed,
in tests/data), refuses what Firecracker refuses, and its guest speaks the real wire. It runs no
machine: where the real one would enter KVM, this one starts a Python object.
"""
