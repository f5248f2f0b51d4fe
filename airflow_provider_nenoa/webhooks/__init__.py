"""The webhook receiver: how the vendors tell us that a run has ended, and how our own components read it."""
