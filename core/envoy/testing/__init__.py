"""For tests of what is encoded: values of the view in every variant, and a bootstrap that gives them to an Envoy."""
