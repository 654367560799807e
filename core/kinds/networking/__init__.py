"""The traffic APIs of Istio: group networking.istio.io."""
