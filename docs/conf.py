"""Sphinx configuration; build with ``make docs``."""

from __future__ import annotations

import os
import sys
from pathlib import Path

HERE = Path(__file__).parent

# The reference is made from the code, which imports Airflow, which writes a configuration file where it is at home.
os.environ.setdefault("AIRFLOW_HOME", str(HERE.parent / ".nenoa" / "docs-airflow"))
sys.path.insert(0, str(HERE / "_ext"))

from airflow_provider_nenoa import __version__  # noqa: E402

project = "airflow-provider-nenoa"
version = release = __version__
extensions = ["myst_parser", "sphinx.ext.autodoc", "nenoa_reference"]
html_theme = "furo"
html_title = f"{project} {version}"
exclude_patterns = ["_ext"]
myst_heading_anchors = 3

default_role = "py:obj"
add_module_names = False
autodoc_member_order = "bysource"
autodoc_class_signature = "mixed"
autodoc_typehints = "signature"
autodoc_preserve_defaults = True
autodoc_default_options = {"members": True, "show-inheritance": True}
python_maximum_signature_line_length = 100
