"""What the mesh should do, whatever dialect said so: rules and policies. No Envoy, no platform, no dialect."""
