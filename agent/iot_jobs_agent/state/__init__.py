"""State that survives the process: the journal and the files beside it, and how they are written durably."""
