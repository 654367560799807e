"""The HTTP filters by which proxies of the mesh tell each other which workload stands behind them, for telemetry.

The caller's proxy adds a header, the other one takes it off again; the application never sees it. It is a claim,
believed only on connections with mutual TLS, and good for labels of metrics alone.
"""

from typing import Literal

from envoy.config.common.mutation_rules.v3 import mutation_rules_pb2
from envoy.config.core.v3 import base_pb2
from envoy.extensions.filters.http.header_mutation.v3 import header_mutation_pb2
from envoy.extensions.filters.http.header_to_metadata.v3 import header_to_metadata_pb2
from envoy.extensions.filters.network.http_connection_manager.v3 import http_connection_manager_pb2 as hcm_pb2

from core.envoy.any import typed
from core.view.security import MeshServer, ServerSecurity

HEADER = "x-mesh-peer"
"""Not Istio's `x-envoy-peer-metadata`: that one holds something else."""

METADATA = "istio.peer"
"""Dynamic metadata: field `peer`."""

_Mutation = mutation_rules_pb2.HeaderMutation
_Option = base_pb2.HeaderValueOption
_Rules = header_to_metadata_pb2.Config

# Whatever the application wrote there is not the proxy's word. Who is not in the mesh need not know who calls.
_OWN = "%CEL(has(xds.cluster_metadata.filter_metadata['istio'].mesh) ? xds.node.metadata.PEER : '')%"
_SAY = _Mutation(
    append=_Option(
        header=base_pb2.HeaderValue(key=HEADER, value=_OWN),
        append_action=_Option.OVERWRITE_IF_EXISTS_OR_ADD,
    )
)
_TAKE_OFF = _Mutation(remove=HEADER)


def _mutating(*mutations: mutation_rules_pb2.HeaderMutation) -> hcm_pb2.HttpFilter:
    config = header_mutation_pb2.HeaderMutation(
        mutations=header_mutation_pb2.Mutations(request_mutations=mutations),
    )
    return hcm_pb2.HttpFilter(name="istio.peer_metadata", typed_config=typed(config))


_ANNOUNCE = _mutating(_TAKE_OFF, _SAY)
_IGNORE = _mutating(_TAKE_OFF)
_LEARN = hcm_pb2.HttpFilter(
    name="istio.peer_metadata",
    typed_config=typed(
        _Rules(
            request_rules=[
                _Rules.Rule(
                    header=HEADER,
                    on_header_present=_Rules.KeyValuePair(metadata_namespace=METADATA, key="peer", type=_Rules.STRING),
                    remove=True,
                )
            ]
        )
    ),
)


def exchange(direction: Literal["inbound", "outbound"], security: ServerSecurity) -> hcm_pb2.HttpFilter:
    if direction == "outbound":
        return _ANNOUNCE
    return _LEARN if isinstance(security, MeshServer) else _IGNORE
