"""Access logs in Istio's formats or the user's own, to a file or to the standard streams."""

from functools import cache

import msgspec
from envoy.config.accesslog.v3 import accesslog_pb2
from envoy.config.core.v3 import substitution_format_string_pb2 as format_pb2
from envoy.data.accesslog.v3 import accesslog_pb2 as data_pb2
from envoy.extensions.access_loggers.file.v3 import file_pb2
from envoy.extensions.access_loggers.stream.v3 import stream_pb2
from google.protobuf.struct_pb2 import Struct

from core.envoy.any import typed
from core.model.mesh import AccessLog

FORMAT = (
    '[%START_TIME%] "%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%" %RESPONSE_CODE% %RESPONSE_FLAGS% '
    '%RESPONSE_CODE_DETAILS% %CONNECTION_TERMINATION_DETAILS% "%UPSTREAM_TRANSPORT_FAILURE_REASON%" %BYTES_RECEIVED% '
    '%BYTES_SENT% %DURATION% %RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% "%REQ(X-FORWARDED-FOR)%" "%REQ(USER-AGENT)%" '
    '"%REQ(X-REQUEST-ID)%" "%REQ(:AUTHORITY)%" "%UPSTREAM_HOST%" %UPSTREAM_CLUSTER_RAW% %UPSTREAM_LOCAL_ADDRESS% '
    "%DOWNSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_REMOTE_ADDRESS% %REQUESTED_SERVER_NAME% %ROUTE_NAME%\n"
)
"""Istio's text format (Istio documentation, "Envoy Access Logs"); people's log parsers rely on it."""

KEYS = {
    "start_time": "%START_TIME%",
    "route_name": "%ROUTE_NAME%",
    "method": "%REQ(:METHOD)%",
    "path": "%REQ(X-ENVOY-ORIGINAL-PATH?:PATH)%",
    "protocol": "%PROTOCOL%",
    "response_code": "%RESPONSE_CODE%",
    "response_flags": "%RESPONSE_FLAGS%",
    "response_code_details": "%RESPONSE_CODE_DETAILS%",
    "connection_termination_details": "%CONNECTION_TERMINATION_DETAILS%",
    "bytes_received": "%BYTES_RECEIVED%",
    "bytes_sent": "%BYTES_SENT%",
    "duration": "%DURATION%",
    "upstream_service_time": "%RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)%",
    "x_forwarded_for": "%REQ(X-FORWARDED-FOR)%",
    "user_agent": "%REQ(USER-AGENT)%",
    "request_id": "%REQ(X-REQUEST-ID)%",
    "authority": "%REQ(:AUTHORITY)%",
    "upstream_host": "%UPSTREAM_HOST%",
    "upstream_cluster": "%UPSTREAM_CLUSTER_RAW%",
    "upstream_local_address": "%UPSTREAM_LOCAL_ADDRESS%",
    "downstream_local_address": "%DOWNSTREAM_LOCAL_ADDRESS%",
    "downstream_remote_address": "%DOWNSTREAM_REMOTE_ADDRESS%",
    "requested_server_name": "%REQUESTED_SERVER_NAME%",
    "upstream_transport_failure_reason": "%UPSTREAM_TRANSPORT_FAILURE_REASON%",
}
"""The same as JSON, under Istio's keys."""


@cache
def logs(log: AccessLog) -> tuple[accesslog_pb2.AccessLog, ...]:
    """None when no file is named."""
    return (_log(log),) if log.file else ()


@cache
def connection_logs(log: AccessLog) -> tuple[accesslog_pb2.AccessLog, ...]:
    """The same for TCP: one line at the end of a connection, though telemetry wants to hear of its beginning, too."""
    kinds = accesslog_pb2.LogTypeFilter(types=[data_pb2.AccessLogType.TcpUpstreamConnected], exclude=True)
    ended = accesslog_pb2.AccessLogFilter(log_type_filter=kinds)
    return tuple(
        accesslog_pb2.AccessLog(name=each.name, filter=ended, typed_config=each.typed_config) for each in logs(log)
    )


def _log(log: AccessLog) -> accesslog_pb2.AccessLog:
    line = _format(log)
    # Opening /dev/stdout fails when another user owns it, so Envoy's own streams are used instead.
    if log.file == "/dev/stdout":
        return _named("stdout", stream_pb2.StdoutAccessLog(log_format=line))
    if log.file == "/dev/stderr":
        return _named("stderr", stream_pb2.StderrAccessLog(log_format=line))
    return _named("file", file_pb2.FileAccessLog(path=log.file, log_format=line))


def _format(log: AccessLog) -> format_pb2.SubstitutionFormatString:
    if log.encoding == "JSON":
        fields = Struct()
        fields.update(msgspec.json.decode(log.format) if log.format else KEYS)
        return format_pb2.SubstitutionFormatString(json_format=fields)
    # As Istio: a line is ended for those who forget it.
    text = log.format if log.format.endswith("\n") else f"{log.format}\n"
    return format_pb2.SubstitutionFormatString(text_format_source={"inline_string": text if log.format else FORMAT})


def _named(kind: str, config: stream_pb2.StdoutAccessLog) -> accesslog_pb2.AccessLog:
    return accesslog_pb2.AccessLog(name=f"envoy.access_loggers.{kind}", typed_config=typed(config))
