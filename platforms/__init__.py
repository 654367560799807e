"""The places workloads run in, one package each: everything that knows a platform's own words is here.

A platform is found by its entry point (group `istio.platforms`), never by import; none knows another.
`conformance` is the contract they are all held to.
"""
