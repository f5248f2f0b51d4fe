"""A task that waits, of which the benchmark makes thousands."""

from airflow.sdk import DAG

from airflow_provider_nenoa.sensors.nenai import NenAIWorkflowRunSensor

with DAG("waiting"):
    NenAIWorkflowRunSensor(task_id="wait", message_id="the-first", nenai_conn_id="nen", deferrable=True)
