"""Both vendors' APIs on localhost: for demos, for this project's tests, and for tests of your own DAGs.

Run it as ``python -m airflow_provider_nenoa.emulator --port 8090``, inside a test as a context manager
(:class:`Emulator`), or through the pytest fixture ``nenoa_emulator`` of
:mod:`airflow_provider_nenoa.emulator.pytest_plugin`. It imports nothing else of this package: it is the other side
of the wire, and shares no code, and so no mistakes, with the provider.
"""

from __future__ import annotations

from airflow_provider_nenoa.emulator.client import Control
from airflow_provider_nenoa.emulator.server import Emulator
from airflow_provider_nenoa.emulator.settings import Settings

__all__ = ["Control", "Emulator", "Settings"]
