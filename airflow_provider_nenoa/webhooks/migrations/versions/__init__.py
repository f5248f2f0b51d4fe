"""The steps. Each is left as it was released."""
