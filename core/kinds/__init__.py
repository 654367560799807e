"""Front ends: one file per kind of configuration, each with its spec, its rules and its lowering to `core.ir`.

`registry` is the table of kinds, `decode` reads text, `validate` does both offline. No Envoy words in what comes out.
"""
