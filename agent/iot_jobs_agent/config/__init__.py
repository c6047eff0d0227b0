"""The configuration: its keys, the rules across keys, and the files that it names. Only this package checks it."""
