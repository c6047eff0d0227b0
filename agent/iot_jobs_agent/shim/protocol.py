"""The numbers and names of protocol 1 (docs/handlers.md), shared by the shim, Python handlers and `jobctl`."""

CONTROL_FD = 3
LINE_BYTES = 4096  # maximum length of a line on fd 3, including its end
RESULT_BYTES = 32768  # maximum size of a result file
CHECKPOINT = "checkpoint.json"  # the last checkpoint, in the job's directory, which outlives the attempt
UNFINISHED = "unfinished.json"  # names the file outside of the job's directory that is removed with it
TRACEBACK = "traceback"  # where the worker writes the traceback of an internal error, in the job's directory
