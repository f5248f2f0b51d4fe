"""Links from a task to its run in a vendor's own user interface."""
