"""Start a run, wait for it, return its result; one operator per kind of run, and those that list and fetch."""
