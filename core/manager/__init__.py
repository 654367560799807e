"""The Manager: watches platforms, compiles rules, feeds every proxy over xDS and serves the config API."""
