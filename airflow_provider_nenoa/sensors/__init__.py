"""Wait for a run that was started elsewhere."""
