"""Cards as bytes between processes, and out of the audit log again."""
