"""Models that answer over HTTP, through pydantic-ai. Slow to import: loaded only when used."""
