"""The audit log: the system of record, from which all other state is folded and can be rebuilt.

``event`` and ``actions`` say what an event is, ``log`` acknowledges events once they are on disk (``appender`` is its thread,
``stored`` what lies on the disk in ``segment`` files, ``reserve`` keeps room for what must be recorded), ``merkle``, ``checkpoint`` and ``proof`` make the record provable, ``commitment`` and ``sealed`` keep
prompts and answers out of it, ``producer`` and ``channel`` are the only way in from another process, and ``verify`` is the verifier: one
file that needs nothing else of Holdfast.
"""
