"""OpenAnalyst: one method per endpoint, nothing about waiting."""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from airflow_provider_nenoa.exceptions import InvalidArgument, InvalidConnection, NenoaError
from airflow_provider_nenoa.hooks.base import ConnectionSettings, VendorHook
from airflow_provider_nenoa.http import ApiKeyAuth
from airflow_provider_nenoa.runs import Run
from airflow_provider_nenoa.vendors import openanalyst
from airflow_provider_nenoa.vendors import openanalyst_forms as forms
from airflow_provider_nenoa.vendors.arguments import required, whole_number
from airflow_provider_nenoa.vendors.openanalyst import PLANS
from airflow_provider_nenoa.vendors.openanalyst_names import id_of_named
from airflow_provider_nenoa.vendors.openanalyst_pages import Listing
from airflow_provider_nenoa.vendors.openanalyst_schema import Column, tables_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from datetime import timedelta

    from requests.auth import AuthBase

    from airflow_provider_nenoa.http.large import ReadLarge
    from airflow_provider_nenoa.results.storage import StoredFile

_NOT_FOR_SQL = (
    "of type 'openanalyst'; SQL operators need one of type 'openanalyst_sql'.\nMake one, with the data set's id in its "
    "schema field."
)


class OpenAnalystHook(VendorHook):
    """
    Talk to OpenAnalyst's REST API.

    The vendor publishes two references of it that differ in paths and bodies. Which one is spoken to, the connection
    says (``api_form``); arguments for which that form has no place are refused before anything is sent. Answers are
    read in both forms.

    :param openanalyst_conn_id: A connection of type ``openanalyst``: password = API key, host = base URL if it is
        not ``https://api.openanalyst.com/v1``. Default ``openanalyst_default``.
    :param kwargs: ``retry_for`` and ``on_response`` of `VendorHook`.
    """

    vendor = openanalyst.NAME
    default_host = openanalyst.BASE_URL
    conn_type = "openanalyst"
    conn_name_attr = "openanalyst_conn_id"
    default_conn_name = "openanalyst_default"
    hook_name = "OpenAnalyst"
    webhooks_need_https = openanalyst.WEBHOOKS_NEED_HTTPS

    def __init__(self, openanalyst_conn_id: str = default_conn_name, **kwargs: Any) -> None:
        if unknown := kwargs.keys() - {"retry_for", "on_response"}:
            # SQL operators pass a connection's extra fields on to the hook of its type.
            raise InvalidConnection(
                f"Connection '{openanalyst_conn_id}' is {_NOT_FOR_SQL} (The hook of this type takes no "
                f"{', '.join(sorted(unknown))}.)"
            )
        super().__init__(openanalyst_conn_id, **kwargs)

    @classmethod
    def mro(cls) -> list[type]:
        """
        Say what is wrong: an SQL operator asks for this only where a connection is of a type that it cannot use.

        :raises InvalidConnection: Always.
        """
        raise InvalidConnection(f"The connection is {_NOT_FOR_SQL}")

    @classmethod
    def rate_limits(cls, settings: ConnectionSettings) -> tuple[float | None, float | None]:
        """
        Return the limits of the connection's ``plan``, overruled by ``requests_per_minute`` and ``requests_per_day``.

        :raises InvalidConnection: The plan is unknown, or is ``enterprise`` without explicit numbers.
        """
        per_minute, per_day = cls.own_limits(settings)
        plan = (settings.text("plan") or "free").lower()
        if plan == "enterprise":
            if per_minute is None or per_day is None:
                raise InvalidConnection(
                    f"Connection '{settings.conn_id}': an Enterprise plan has limits of its own.\nSet "
                    "'requests_per_minute' and 'requests_per_day'."
                )
            return per_minute, per_day
        if plan not in PLANS:
            raise InvalidConnection(
                f"Connection '{settings.conn_id}': unknown plan {plan!r}.\nUse one of {', '.join(PLANS)} or enterprise."
            )
        return per_minute or PLANS[plan][0], per_day or PLANS[plan][1]

    @classmethod
    def own_limits(cls, settings: ConnectionSettings) -> tuple[float | None, float | None]:
        """Return ``requests_per_minute`` and ``requests_per_day``: the vendor's headers may lower, not raise them."""
        return settings.number("requests_per_minute"), settings.number("requests_per_day")

    @cached_property
    def settings(self) -> ConnectionSettings:
        """The connection, read once and checked; one with a test key has no webhook secret."""
        settings = super().settings
        self._form_of(settings)
        # "Test keys ... send no webhooks": whoever waited for one would wait for nothing.
        is_test = settings.api_key.startswith(openanalyst.TEST_KEY_PREFIX)
        return replace(settings, webhook_secret=None) if is_test else settings

    @cached_property
    def form(self) -> forms.Form:
        """How requests are written, by the connection's ``api_form``."""
        return self._form_of(self.settings)

    @property
    def takes_callbacks(self) -> bool:
        """Whether a start can name the URL that the vendor shall call about its end."""
        return self.form.takes_callbacks

    def list_datasets(self, *, page_size: int = 100) -> Iterator[dict[str, Any]]:
        """
        Iterate over all datasets of the workspace; a page is fetched when it is reached.

        :param page_size: Objects per request. Default 100.
        :return: One dict per dataset, with every field the vendor sent.
        """
        return self._objects(forms.DATASETS_PATH, page_size)

    def get_dataset(self, dataset_id: str) -> dict[str, Any]:
        """
        Fetch the metadata and schema of one dataset.

        :param dataset_id: The dataset.
        :return: A dict with every field the vendor sent.
        :raises NotFound: The workspace has no such dataset.
        """
        return self.api.get(forms.dataset_path(dataset_id))

    def known_schema(self, dataset_id: str) -> dict[str, list[Column]]:
        """
        Return the columns of a dataset's tables, for lineage: asked for once, and without waiting for a better moment.

        :return: The columns, by the tables' names; empty if the vendor does not tell them now.
        """
        try:
            return tables_of(self.api.get(forms.dataset_path(dataset_id), retry=False))
        except NenoaError as error:
            self.log.debug("Lineage goes without columns: %s", error)
            return {}

    def dataset_id_of(self, dataset_name: str) -> str:
        """
        Find a dataset by its name: all pages of the list are read.

        :param dataset_name: The name, as OpenAnalyst has it: case matters.
        :raises InvalidArgument: None has this name, or several have.
        """
        return id_of_named("dataset", required("dataset_name", dataset_name), self.list_datasets())

    def list_reports(self, *, page_size: int = 100) -> Iterator[dict[str, Any]]:
        """Iterate over all reports of the workspace, as `list_datasets` does over datasets."""
        return self._objects(forms.REPORTS_PATH, page_size)

    def report_id_of(self, report_name: str) -> str:
        """Find a report by its name, as `dataset_id_of` finds a dataset."""
        return id_of_named("report", required("report_name", report_name), self.list_reports())

    def get_report(self, report_id: str) -> dict[str, Any]:
        """Fetch one report and its data, as `get_dataset` does a dataset."""
        return self.api.get(forms.report_path(report_id))

    def list_dashboards(self, *, page_size: int = 100) -> Iterator[dict[str, Any]]:
        """Iterate over all dashboards of the workspace, as `list_datasets` does over datasets."""
        return self._objects(forms.DASHBOARDS_PATH, page_size)

    def execute_query(
        self,
        dataset_id: str,
        query: str | None = None,
        *,
        question: str | None = None,
        query_timeout: float | timedelta | None = None,
        extra_body: Mapping[str, Any] | None = None,
        webhook_url: str | None = None,
        before_send: Callable[[], None] | None = None,
        large: ReadLarge | None = None,
    ) -> Run:
        """
        Start a query. The vendor answers with the rows, or with an id and ``running``.

        :param dataset_id: The dataset to query.
        :param query: The SQL.
        :param question: A question in natural language, instead of the SQL. Form ``server`` only.
        :param query_timeout: Seconds, or a timedelta, after which the vendor shall give up the query; its ``timeout``,
            whose unit its page does not name. Form ``server`` only. Default: the vendor's own.
        :param extra_body: Fields to add to the request's body, for what the vendor takes and this method does not.
        :param webhook_url: Where the vendor reports the end of a large query. Not sent in the form ``server``.
        :param before_send: Called immediately before the request goes out.
        :param large: Reads an answer with many rows: see `results.reply`. Default: all are held in memory.
        :return: Ended, with ``columns``, ``rows``, ``row_count`` in its payload; or running.
        :raises InvalidArgument: An argument makes no sense, or the connection's form has no place for it.
        :raises StartOutcomeUnknown: The query may or may not run now.
        """
        if query is not None and question is not None:
            raise InvalidArgument("Give either 'query' or 'question', not both. Nothing was sent.")
        if query is None and question is None:
            raise InvalidArgument("'query' must be a non-empty string, unless 'question' is given. Nothing was sent.")
        path, body = self.form.query(
            dataset_id,
            query,
            question=question,
            query_timeout=query_timeout,
            webhook_url=webhook_url,
            extra_body=extra_body,
        )
        return openanalyst.read_query_start(self.api.start(path, body, before_send=before_send, large=large), path)

    def get_query_results(self, query_id: str, *, large: ReadLarge | None = None) -> Run:
        """
        Ask how a query stands, and for its rows once it is ``completed``.

        :param query_id: The ``id`` that `execute_query` got.
        :param large: Reads an answer with many rows: see `results.reply`. Default: all are held in memory.
        :return: Running; or ended, with ``columns``, ``rows``, ``row_count`` in its payload if it has succeeded.
        :raises NotFound: The workspace has no such query.
        """
        path = forms.query_results_path(query_id)
        return openanalyst.read_query_results(self.api.get(path, large=large), query_id, path)

    def run_agent(
        self,
        agent_id: str | None,
        task: str,
        context: Mapping[str, Any] | None = None,
        *,
        dataset_ids: Sequence[str] | None = None,
        model: str | None = None,
        max_steps: int | None = None,
        extra_body: Mapping[str, Any] | None = None,
        webhook_url: str | None = None,
        before_send: Callable[[], None] | None = None,
    ) -> Run:
        """
        Start a run of an AI agent: in the form ``server``, a session.

        :param agent_id: The agent. The form ``server`` names none: it is not sent there, and may be None.
        :param task: What it is asked to do, in words.
        :param context: Data for it; must be JSON. Form ``api`` only.
        :param dataset_ids: The datasets that it may use. Form ``server`` only.
        :param model: The model that it uses. Form ``server`` only.
        :param max_steps: How many steps it may take. Form ``server`` only.
        :param extra_body: Fields to add to the request's body, for what the vendor takes and this method does not.
        :param webhook_url: Where the vendor reports the end of the run. Not sent in the form ``server``.
        :param before_send: Called immediately before the request goes out.
        :return: The run, with its id.
        :raises InvalidArgument: An argument makes no sense, or the connection's form has no place for it.
        :raises StartOutcomeUnknown: The agent may or may not run now.
        """
        path, body = self.form.agent(
            agent_id,
            task,
            context=context,
            dataset_ids=dataset_ids,
            model=model,
            max_steps=max_steps,
            webhook_url=webhook_url,
            extra_body=extra_body,
        )
        return openanalyst.read_agent_start(self.api.start(path, body, before_send=before_send), path)

    def get_agent_run(self, run_id: str) -> Run:
        """
        Ask how an agent run stands, and for its result once it is ``completed``.

        :param run_id: The id that `run_agent` got: a ``run_id``, or that of a session.
        :return: The run, with the vendor's whole answer as its payload.
        :raises NotFound: The workspace has no such run.
        """
        path = self.form.agent_run_path(run_id)
        return openanalyst.read_agent_run(self.api.get(path), run_id, path)

    def start_export(
        self,
        dataset_id: str,
        export_format: str = "csv",
        *,
        date_range: Mapping[str, Any] | None = None,
        extra_body: Mapping[str, Any] | None = None,
        before_send: Callable[[], None] | None = None,
    ) -> Run:
        """
        Start the export of a dataset into a file. Form ``server`` only.

        :param dataset_id: The dataset.
        :param export_format: ``csv`` (the default) or ``parquet``.
        :param date_range: The dates to export: a dict with ``start`` and ``end``, as texts or dates. Default: all.
        :param extra_body: Fields to add to the request's body, for what the vendor takes and this method does not.
        :param before_send: Called immediately before the request goes out.
        :return: The export, with its id.
        :raises InvalidArgument: An argument makes no sense, or the connection's form knows no exports.
        :raises StartOutcomeUnknown: The export may or may not run now.
        """
        path, body = self.form.export(dataset_id, export_format, date_range=date_range, extra_body=extra_body)
        return openanalyst.read_export_start(self.api.start(path, body, before_send=before_send), path)

    def get_export(self, export_id: str) -> Run:
        """
        Ask how an export stands: it succeeds with the status ``ready``.

        :param export_id: The ``id`` that `start_export` got.
        :return: The export, with the vendor's whole answer as its payload.
        :raises NotFound: The workspace has no such export.
        """
        path = forms.export_path(export_id)
        return openanalyst.read_export(self.api.get(path), export_id, path)

    def download_export(
        self, export_id: str, output_path: str, *, export_format: str = "csv", max_file_size: int = 10 * 1024**3
    ) -> StoredFile:
        """
        Store the file of an export that is ready, checked against the size that the vendor names.

        The link to it is asked for now, and is valid for 15 minutes. The API key is not sent to where it leads.

        :param export_id: The ``id`` that `start_export` got.
        :param output_path: Any URL that Airflow's ``ObjectStoragePath`` understands: a file, or a directory for a file
            ``export.<format>``.
        :param export_format: What the file is called by in a directory, if the vendor does not tell its format.
            Default ``csv``.
        :param max_file_size: How many bytes it may have. Default 10 GiB.
        :return: A dict: ``name``, ``path``, ``size`` (bytes) and ``sha256`` (hex).
        :raises FilesMissing: The store does not have it, or does not take the link.
        :raises ResultRefused: It is too large, or the link leads to an address that is not public.
        :raises DownloadFailed: It could not be fetched, or has another size than the vendor says.
        """
        from airflow_provider_nenoa.results.single import fetch_link

        path = forms.export_download_path(export_id)
        return fetch_link(
            lambda: openanalyst.read_export_link(self.api.get(path), path),
            output_path,
            "export",
            export_format,
            self.file_guard(),
            max_file_size,
        )

    def download_report(
        self, report_id: str, output_path: str, *, export_format: str = "csv", max_file_size: int = 10 * 1024**3
    ) -> StoredFile:
        """
        Store a report as a file, as the vendor writes it. Form ``server`` only.

        :param report_id: The report.
        :param output_path: Any URL that Airflow's ``ObjectStoragePath`` understands: a file, or a directory for a file
            ``report.<format>``.
        :param export_format: The format; the vendor's page shows ``csv``, the default.
        :param max_file_size: How many bytes it may have. Default 10 GiB.
        :return: A dict: ``name``, ``path``, ``size`` (bytes) and ``sha256`` (hex).
        :raises InvalidArgument: An argument makes no sense, or the connection's form knows no reports as files.
        :raises ResultRefused: It is too large.
        """
        from airflow_provider_nenoa.results.single import Body
        from airflow_provider_nenoa.results.storage import NewFile, Place

        path, params = self.form.report_file(report_id, export_format)
        with NewFile(Place(output_path).file_or_in(f"report.{params['format']}"), "report") as target:
            self.api.fetch(path, params, Body(target, max_file_size))
        return target.stored

    def test_connection(self) -> tuple[bool, str]:
        """Ask for one dataset, for the Test button of Airflow's connection form: costs one request."""
        try:
            self.api.get(forms.DATASETS_PATH, self.form.first_page(1), retry=False)
        except NenoaError as error:
            return False, str(error)
        return True, f"{self.vendor} accepted the API key at {self.settings.base_url}."

    def _auth(self, api_key: str) -> AuthBase:
        return ApiKeyAuth("Authorization", f"Bearer {api_key}")

    def _form_of(self, settings: ConnectionSettings) -> forms.Form:
        name = (settings.text("api_form") or forms.ApiForm.name).lower()
        if name not in forms.FORMS:
            raise InvalidConnection(
                f"Connection '{settings.conn_id}': the extra field 'api_form' is {name!r}; it must be one of "
                f"{', '.join(forms.FORMS)}."
            )
        return forms.FORMS[name]

    def _objects(self, path: str, page_size: int) -> Iterator[dict[str, Any]]:
        return self._pages(path, whole_number("page_size", page_size))

    def _pages(self, path: str, page_size: int) -> Iterator[dict[str, Any]]:
        listing = Listing(path, self.form.first_page(page_size))
        while (params := listing.params) is not None:
            yield from listing.take(self.api.get(path, params))
        if listing.missing:
            self.log.warning(
                "%s says that there are %d objects at %s, and sent %d.", self.vendor, listing.total, path, listing.count
            )
