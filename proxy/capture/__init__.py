"""Capture `redirect`: the kernel's rules that lead traffic through the proxy, and the networks to do it in.

Data first: `rules` says what has to hold, `iptables` and `nft` write it down, `apply` puts it into the kernel. `fabric`
gives every workload of one machine a network of its own, without root. Knows nothing of Envoy's configuration.
"""
