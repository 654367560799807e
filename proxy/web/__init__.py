"""As much HTTP/1.1 as the agent speaks: with Envoy's admin interface, with the Manager, and with who asks how it is."""
