"""Programs that measure; nothing here is a test, and no test compares anything with time."""
