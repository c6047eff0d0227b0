"""The numbers and names of protocol 1 (docs/handlers.md), for the shim, for Python handlers and for `jobctl` alike."""

CONTROL_FD = 3
LINE_BYTES = 4096  # the most that a line on fd 3 may have, its end included
RESULT_BYTES = 32768  # the most that a result file may have
CHECKPOINT = "checkpoint.json"  # the last checkpoint, in the job's directory, which outlives the attempt
TRACEBACK = "traceback"  # what the worker leaves of an internal error, in the job's directory
