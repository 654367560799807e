"""The Envoy back end: writes the view as Envoy resources, one-to-one. The only code that builds Envoy protos.

No rule is decided here: what a value of the view does not say, Envoy is not told. Each module imports the protos of
its own resource type, so import `core.envoy.clusters` and the like only where bytes are needed; `names` costs nothing.
"""
