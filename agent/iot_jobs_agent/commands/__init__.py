"""The command line, one file a command: each has `main(arguments) -> exit status` and a parser of its own."""
