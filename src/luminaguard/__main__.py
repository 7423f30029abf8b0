"""`python -m luminaguard` is the `luminaguard` command."""

from luminaguard.cli.main import main

main()
