"""The page "Nenoa" in Airflow's user interface: which webhooks come, which are refused and why, and what to do."""
