"""The HTTP filter that delays and aborts requests: idle by itself, each route brings its own settings."""

from envoy.extensions.filters.common.fault.v3 import fault_pb2 as common_pb2
from envoy.extensions.filters.http.fault.v3 import fault_pb2
from envoy.extensions.filters.network.http_connection_manager.v3 import http_connection_manager_pb2 as hcm_pb2
from envoy.type.v3 import percent_pb2
from google.protobuf.any_pb2 import Any

from core.envoy.any import milliseconds, typed
from core.envoy.names import FAULT
from core.ir.values import Abort, Delay, Fault

FILTER = hcm_pb2.HttpFilter(name=FAULT, typed_config=typed(fault_pb2.HTTPFault()))


def of_route(fault: Fault) -> Any:
    return typed(
        fault_pb2.HTTPFault(
            delay=_delay(fault.delay) if fault.delay else None,
            abort=_abort(fault.abort) if fault.abort else None,
        )
    )


def _delay(delay: Delay) -> common_pb2.FaultDelay:
    return common_pb2.FaultDelay(fixed_delay=milliseconds(delay.duration), percentage=per_million(delay.per_million))


def _abort(abort: Abort) -> fault_pb2.FaultAbort:
    percentage = per_million(abort.per_million)
    if abort.kind == "grpc":
        return fault_pb2.FaultAbort(grpc_status=abort.status, percentage=percentage)
    return fault_pb2.FaultAbort(http_status=abort.status, percentage=percentage)


def per_million(numerator: int) -> percent_pb2.FractionalPercent:
    return percent_pb2.FractionalPercent(numerator=numerator, denominator=percent_pb2.FractionalPercent.MILLION)
