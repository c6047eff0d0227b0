"""The operations of the control plane, a file for each kind of resource: from a request to the rules and back.

Each file ends in a table, `OPERATIONS`: by operation name, the members it takes notice of and the function. What is not
in a table is refused by name. Does no I/O.
"""
