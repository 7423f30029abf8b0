"""The host tree: sent into a guest, measured after it ran, settled on the host.

`send` chooses what goes in and images it, `measure` turns what comes out into a changeset, `settle`
commits an approved one and recovers from crashes. The modules here are what the three share: the
root held by descriptor, the manifest and base that changes are measured against, and the spool that
measured bytes lie in.
"""
