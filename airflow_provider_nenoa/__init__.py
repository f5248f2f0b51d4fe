"""Apache Airflow provider for NenAI and OpenAnalyst."""

__version__ = "0.1.0"
