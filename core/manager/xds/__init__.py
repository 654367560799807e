"""Feeds proxies: what was compiled (`Group`), what each proxy has of it and what it gets next (`Stream`), the wire.

A stream is pure: bytes in, bytes out, no clock, no task, no grpc. docs/adr/0003-xds-transport-and-delivery.md says why
things are sent in the order they are. It does not decide what a proxy should see; that is the compiler's.
"""
