"""What a project says it needs, read from its files without running anything, and what is there."""
