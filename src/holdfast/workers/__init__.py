"""The bodies of confined child processes, one module per kind.

Each module has ``main(channel, order)``: it takes the order (plain data), reports through the channel, and returns its
result (plain data) or raises a ``HoldfastError``. ``confine.child`` runs it after the walls are up. A worker sees read-only
inputs under ``/in/<name>``, a writable ``/out`` and ``/tmp``, and nothing else of the site.
"""
