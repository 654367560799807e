"""An xDS client without Envoy: `things` to deliver, `wire` to talk about them, `envoy` to behave like the real one."""
