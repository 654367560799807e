"""Access logs in Istio's default text format, to a file or to the standard streams."""

from functools import cache

from envoy.config.accesslog.v3 import accesslog_pb2
from envoy.config.core.v3 import substitution_format_string_pb2 as format_pb2
from envoy.extensions.access_loggers.file.v3 import file_pb2
from envoy.extensions.access_loggers.stream.v3 import stream_pb2

from core.envoy.any import typed

FORMAT = (
    '[%START_TIME%] "%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%" %RESPONSE_CODE% %RESPONSE_FLAGS% '
    '%RESPONSE_CODE_DETAILS% %CONNECTION_TERMINATION_DETAILS% "%UPSTREAM_TRANSPORT_FAILURE_REASON%" %BYTES_RECEIVED% '
    '%BYTES_SENT% %DURATION% %RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% "%REQ(X-FORWARDED-FOR)%" "%REQ(USER-AGENT)%" '
    '"%REQ(X-REQUEST-ID)%" "%REQ(:AUTHORITY)%" "%UPSTREAM_HOST%" %UPSTREAM_CLUSTER_RAW% %UPSTREAM_LOCAL_ADDRESS% '
    "%DOWNSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_REMOTE_ADDRESS% %REQUESTED_SERVER_NAME% %ROUTE_NAME%\n"
)
"""Istio's text format (Istio documentation, "Envoy Access Logs"); people's log parsers rely on it."""


@cache
def logs(path: str) -> tuple[accesslog_pb2.AccessLog, ...]:
    """The log for the file `path`; no log when it is empty."""
    return (_log(path),) if path else ()


def _log(path: str) -> accesslog_pb2.AccessLog:
    text = format_pb2.SubstitutionFormatString(text_format_source={"inline_string": FORMAT})
    # Opening /dev/stdout fails when another user owns it, so Envoy's own streams are used instead.
    if path == "/dev/stdout":
        return _named("stdout", stream_pb2.StdoutAccessLog(log_format=text))
    if path == "/dev/stderr":
        return _named("stderr", stream_pb2.StderrAccessLog(log_format=text))
    return _named("file", file_pb2.FileAccessLog(path=path, log_format=text))


def _named(kind: str, config: stream_pb2.StdoutAccessLog) -> accesslog_pb2.AccessLog:
    return accesslog_pb2.AccessLog(name=f"envoy.access_loggers.{kind}", typed_config=typed(config))
