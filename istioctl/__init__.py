"""The command line: run a mesh here, write rules, look at what they do.

Offline commands start quickly: nothing here imports gRPC, Envoy's protos or a platform's client at the top of a file.
"""
