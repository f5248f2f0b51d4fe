"""OpenAnalyst's queries as a database for Python."""
