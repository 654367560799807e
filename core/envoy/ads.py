"""Where Envoy finds a resource that another one names: on the stream it already has to the Manager."""

from envoy.config.core.v3 import config_source_pb2

from core.envoy.any import NEVER

SOURCE = config_source_pb2.ConfigSource(
    ads=config_source_pb2.AggregatedConfigSource(),
    resource_api_version=config_source_pb2.ApiVersion.V3,
    # As Istio: waiting never ends by time. A cluster without its endpoints or a listener without its routes would
    # answer 503 or 404 while the old one still works, and a machine that stalls must not change what happens.
    # The price: every cluster must get an assignment, an empty one if need be, or it waits for ever and with it the
    # acknowledgement of all clusters. A refused assignment ends the waiting, too: then the cluster has no endpoints.
    initial_fetch_timeout=NEVER,
)
