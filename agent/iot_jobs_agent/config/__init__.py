"""The configuration: its keys, the rules that span them, and the files that it names. Only this package checks it."""
