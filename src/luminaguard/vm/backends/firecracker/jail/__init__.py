"""Starting Firecracker confined: `commands.py` writes the command lines, `launch.py` runs them.

As root: Firecracker's own jailer (chroot, a uid of the machine's own, resource limits), inside
namespaces that hold nothing. As an ordinary user, for whom the jailer cannot work: bubblewrap with
an empty, read-only root. Either way Firecracker's own system call filter stays on.
"""
