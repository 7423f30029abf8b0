"""LuminaGuard: rehearse, read, approve, commit."""
