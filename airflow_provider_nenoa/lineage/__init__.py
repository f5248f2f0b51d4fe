"""
What a task read, made and ran, for those who draw it: OpenLineage, Airflow's hook lineage, assets.

Only a module that OpenLineage calls imports anything of OpenLineage's.
"""
