"""For tests of the Manager: facts in few words, and a proxy that says what it got. No Envoy."""
