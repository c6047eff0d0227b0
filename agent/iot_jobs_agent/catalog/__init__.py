"""The catalog: which handlers this device has, which of them may run, and what they declare. Imports no handler."""
