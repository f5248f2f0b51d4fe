"""One small tree of errors. Each message says what happened, in the vendor's words too, and what to do now."""

from __future__ import annotations

from typing import Any

try:
    from airflow.sdk.exceptions import AirflowException
    from airflow.sdk.exceptions import AirflowFailException as AirflowFailException
    from airflow.sdk.exceptions import (
        AirflowOptionalProviderFeatureException as AirflowOptionalProviderFeatureException,
    )
    from airflow.sdk.exceptions import AirflowRescheduleException as AirflowRescheduleException
    from airflow.sdk.exceptions import AirflowSensorTimeout as AirflowSensorTimeout
    from airflow.sdk.exceptions import AirflowSkipException as AirflowSkipException
    from airflow.sdk.exceptions import AirflowTaskTimeout as AirflowTaskTimeout
    from airflow.sdk.exceptions import TaskDeferralTimeout as TaskDeferralTimeout
except ImportError:  # Airflow 3.0 and 3.1 keep them in the core
    from airflow.exceptions import AirflowException  # type: ignore[attr-defined]
    from airflow.exceptions import AirflowFailException as AirflowFailException  # type: ignore[no-redef]
    from airflow.exceptions import (
        AirflowOptionalProviderFeatureException as AirflowOptionalProviderFeatureException,
    )
    from airflow.exceptions import AirflowRescheduleException as AirflowRescheduleException
    from airflow.exceptions import AirflowSensorTimeout as AirflowSensorTimeout  # type: ignore[no-redef]
    from airflow.exceptions import AirflowSkipException as AirflowSkipException  # type: ignore[no-redef]
    from airflow.exceptions import AirflowTaskTimeout as AirflowTaskTimeout  # type: ignore[no-redef]
    from airflow.exceptions import TaskDeferralTimeout as TaskDeferralTimeout  # type: ignore[no-redef]


class NenoaError(AirflowException):
    """
    Anything that went wrong between Airflow and a vendor. Airflow's retries apply.

    :param message: What happened, and what to do.
    :param http_status: The HTTP status the vendor answered with, if it answered.
    :param code: The vendor's own error code, for example ``DATASET_NOT_FOUND``.
    :param request_id: The vendor's id of the request: support will ask for it.
    :param retry_after: Seconds after which the vendor will listen again, if it said so.
    """

    def __init__(
        self,
        message: str,
        *,
        http_status: int | None = None,
        code: str | None = None,
        request_id: str | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.http_status = http_status
        self.code = code
        self.request_id = request_id
        self.retry_after = retry_after


class PermanentError(NenoaError, AirflowFailException):
    """Another attempt cannot cure it: the task fails at once, without Airflow's retries."""


class InvalidArgument(PermanentError):
    """An argument of an operator, sensor, trigger or hook makes no sense. Nothing was sent."""


class InvalidConnection(PermanentError):
    """The Airflow connection is of another type, or lacks something. Nothing was sent."""


class InvalidSetting(PermanentError):
    """A setting of this machine, such as a proxy or a file of certificates, cannot be used. Nothing was sent."""


class ConnectionUnreadable(NenoaError):
    """
    Airflow did not hand out the connection. Nothing was sent.

    Airflow does not tell a connection that does not exist from a secrets backend that does not answer. The latter is
    over in a moment, so this one may be retried.
    """


class AuthenticationError(PermanentError):
    """401: the vendor does not accept the connection's API key."""


class PermissionDenied(PermanentError):
    """403: the API key may not do this."""


class NotFound(PermanentError):
    """404: what was asked for does not exist in this workspace."""


class InvalidRequest(PermanentError):
    """400, 422 and other 4xx: the vendor understood the request and refused it."""


class RateLimited(NenoaError):
    """429: still over the limit after the waiting that the retry rule allows."""


class ServerError(NenoaError):
    """5xx: something went wrong at the vendor's end."""


class ConnectionFailed(NenoaError):
    """No answer: the vendor could not be reached, or the connection broke."""


class CertificateRefused(ConnectionFailed):
    """The TLS certificate of whoever answered is not accepted. Nothing was sent."""


class InvalidReply(NenoaError):
    """The vendor answered 2xx with something that is not what its API promises."""


class StartOutcomeUnknown(NenoaError):
    """
    A request that starts or changes something went out and no clear answer came: it may or may not have done so.

    :param message: What happened, and what to do.
    :param why: Why there was no clear answer, in a few words.
    :param options: Those of `NenoaError`.
    """

    def __init__(self, message: str, *, why: str = "", **options: Any) -> None:
        super().__init__(message, **options)
        self.why = why


class ReceiverUnavailable(NenoaError):
    """Our own webhook receiver cannot be reached, or does not accept the connection's webhook secret."""


class RunFailed(NenoaError):
    """The vendor says that the run failed or was cancelled."""


class DownloadFailed(NenoaError):
    """A file of a run could not be fetched from where the vendor keeps it."""


class FilesMissing(PermanentError):
    """Files of a run that has succeeded are not to be had: gone, refused, or not where they were said to be."""


class ResultsExpired(FilesMissing):
    """The presigned URLs of a run's files are accepted no more, and there is no way to ask for fresh ones."""


class ResultRefused(PermanentError):
    """A result is not taken as it is: too much of it, or a file at an address that no vendor's file should have."""


class RowsMissing(ResultRefused):
    """Fewer rows came than the vendor says there are."""


class RunTimeout(NenoaError):
    """The run did not end in time. The remote run goes on: neither API can cancel one."""


class SensorTimeout(RunTimeout, AirflowSensorTimeout):
    """The same for a sensor: as with every sensor, its timeout is not retried."""


TRANSIENT = (ConnectionFailed, InvalidReply, RateLimited, ReceiverUnavailable, ServerError)
"""What a wait goes on after: the next answer may be better."""


class DeadlinePassed(Exception):
    """The deadline of a wait passed; internal. The message is the last status word known, or empty."""
