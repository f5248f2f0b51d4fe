"""Sphinx configuration; build with ``make docs``."""

from __future__ import annotations

from airflow_provider_nenoa import __version__

project = "airflow-provider-nenoa"
version = release = __version__
extensions = ["myst_parser"]
html_theme = "furo"
html_title = f"{project} {version}"
myst_heading_anchors = 3
