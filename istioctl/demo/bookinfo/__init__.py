"""Bookinfo, Istio's example: the mesh file of the demo and the applications in it. examples/bookinfo links to them."""
