"""The audit log: the system of record, from which all other state is folded and can be rebuilt.

``event`` and ``actions`` say what an event is, ``log`` writes events into ``segment`` files and acknowledges them once
they are on disk, ``merkle``, ``checkpoint`` and ``proof`` make the record provable, ``commitment`` and ``sealed`` keep
prompts and answers out of it, ``producer`` is the only way in from another process, and ``verify`` is the verifier: one
file that needs nothing else of Holdfast.
"""
