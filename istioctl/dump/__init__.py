"""What an Envoy lives on, as tables: its configuration dump, taken from its admin interface or from a file.

Plain JSON, read into the few fields that tables show. No grpc, no protos: this works on a dump from another machine.
"""
