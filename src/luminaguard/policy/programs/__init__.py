"""What is known of programs: which options and operands leave them pure reads. Data and its reader.

The data are the `*.toml` files of this directory. An option or a subcommand that is not listed
makes a command unknown, so the data can be incomplete without being wrong.
"""
