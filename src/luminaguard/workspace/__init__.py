"""The host tree: what goes into a guest, what comes out, and how it is committed."""
