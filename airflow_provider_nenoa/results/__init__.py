"""What runs leave: files and rows, into whatever storage Airflow can write to."""
