"""The command line, with one file per command: each has `main(arguments) -> exit status` and its own parser."""
