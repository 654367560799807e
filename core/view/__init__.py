"""What one proxy sees: listeners, chains, virtual hosts, upstreams and endpoints, neutral and decided.

Types only. The compiler builds them, the Envoy back end writes them one-to-one, the simulator follows them.
Nothing here inherits, defaults from elsewhere or still has to be merged.
"""
