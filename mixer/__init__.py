"""Mixer: attributes of a call go in, decisions and telemetry of policy and telemetry adapters come out.

What Envoy can enforce by itself will be compiled into Envoy; the rest will be served over gRPC. Nothing of it is
built yet: this package holds its place, so that the rules on who may import it are in force from the start.
"""
