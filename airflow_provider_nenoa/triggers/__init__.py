"""Wait in the triggerer, for a task or for an event-driven DAG."""
