"""One module for each Envoy filter that is used: how it is switched on, and how a route talks to it."""
