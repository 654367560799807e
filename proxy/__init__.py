"""The sidecar agent: bootstraps, supervises and drains one Envoy beside one workload.

Not for deciding what Envoy does: that comes over xDS from the Manager.
"""
