"""How an approved changeset reaches the host: staged, journaled, all or nothing, recoverable."""
