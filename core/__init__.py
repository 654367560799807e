"""The mesh itself, platform-neutral: values, rules, the compiler, Envoy's back end, the simulator and the Manager.

Knows no platform: those come in through `core.ports`. Which package may import which is in `.importlinter`.
"""
