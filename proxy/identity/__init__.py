"""The workload's side of identity: a key that never leaves its host, a certificate for it, both where Envoy finds them.

Not for deciding who somebody is: the Manager does that (`core.manager.ca`).
"""
