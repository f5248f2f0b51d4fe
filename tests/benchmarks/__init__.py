"""Benchmarks: every figure is set against something measured in the same run."""
