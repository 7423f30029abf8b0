"""Ways to a server: a process's pipes, or HTTP. Each bounds what comes back."""
