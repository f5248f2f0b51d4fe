"""Callbacks: who is told when a task has failed."""
