"""Doubles that ship: a fake hypervisor, a fixed approver, a frozen clock."""
