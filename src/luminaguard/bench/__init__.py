"""Figures of this machine: raw samples, taken side by side in one run, with their ratios."""
