"""A mesh on this machine: a Manager process, and a proxy with its application for each workload of a mesh file."""
