"""Grants: approvals that a human had remembered, within bounds, until they end or are revoked."""
