"""The network filter that offers other protocols by ALPN than the cluster says, for the connection it stands in."""

from collections.abc import Sequence

from envoy.config.core.v3 import base_pb2, substitution_format_string_pb2
from envoy.config.listener.v3 import listener_components_pb2 as listener_pb2
from envoy.extensions.filters.common.set_filter_state.v3 import value_pb2
from envoy.extensions.filters.network.set_filter_state.v3 import set_filter_state_pb2

from core.envoy.any import typed

_Value = value_pb2.FilterStateValue


def offering(protocols: Sequence[str]) -> listener_pb2.Filter:
    value = _Value(
        object_key="envoy.network.application_protocols",
        format_string=substitution_format_string_pb2.SubstitutionFormatString(
            text_format_source=base_pb2.DataSource(inline_string=",".join(protocols))
        ),
        # For the next hop only: not through it into what a tunnel carries.
        shared_with_upstream=_Value.ONCE,
    )
    return listener_pb2.Filter(
        name="envoy.filters.network.set_filter_state",
        typed_config=typed(set_filter_state_pb2.Config(on_new_connection=[value])),
    )
