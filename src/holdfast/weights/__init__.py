"""The weights room: a model's tensors on disk, read under checks, merged with an adapter and written in one way.

``spec`` is pure. The other modules read large files or load torch, and only workers import them.
"""
