"""Kinds of `security.istio.io`: who may call, and how callers prove who they are."""
