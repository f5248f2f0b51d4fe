"""Airflow's way to each vendor: a connection, and one method per endpoint."""
