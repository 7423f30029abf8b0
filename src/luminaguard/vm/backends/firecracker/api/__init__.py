"""The REST interface of one Firecracker process.

Covers what a machine without a network card has: machine, boot source, drives, vsock, entropy,
serial line, log and metrics, start, pause, snapshots. Source: Firecracker API description
1.17.0-dev (Apache-2.0); field and path names are its own, all else is ours.
"""
