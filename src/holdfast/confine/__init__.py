"""What a worker may touch: the walls around every process that handles data or models.

``spec`` says what a worker is given, ``embedded`` starts it, ``child`` is the entry of the process that builds the walls
(``namespaces``, ``root``, ``landlock``, ``seccomp`` over ``bpf`` and ``syscalls``) and ``supervise`` refuses and records
what it tries beyond them. ``peers`` lets the daemon refuse clients that are part of a job's process tree.
"""
