"""The daemon: owns a home, holds the state fold, runs jobs in confined workers, answers on the control socket.

Start reading at ``process`` (life cycle), then ``app`` (routes), ``recorder`` (nothing happens before it is on the record)
and ``jobs``. The rooms named after a command group (``bundles``, ``training``, ``models``, ``serving``, ``evidence``,
``reports``) hold that group's acts.
"""
