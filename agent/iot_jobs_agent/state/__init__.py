"""What survives the process: the journal, the files beside it, and how they reach the disk."""
