"""Turns rules and services into what each proxy sees. Pure, tracked functions over input tables; no Envoy, no I/O."""
