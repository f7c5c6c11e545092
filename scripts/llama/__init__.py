"""Maintainers' tools that turn the pinned llama.cpp source into two wheels.

`build` has them built: `pin` says what, `compiler` by which compiler, `cache` where it is kept, `source` fetches it,
`native` compiles it, `packages` lays out the wheels that `wheel` writes. `smoke` tries them.
"""
