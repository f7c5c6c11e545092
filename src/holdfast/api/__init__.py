"""The contract between the daemon and its clients: routes and messages, no logic.

Everything crosses the control socket as JSON over HTTP. A request carries ``Authorization: Holdfast <token>`` of a session,
except for the two calls that open one and ``/v1/status``. Errors travel as ``{"error": HoldfastError.to_dict()}``. Long
work answers at once with ``{"job": n}``; its numbered stream is read, and resumed, at ``/v1/jobs/{n}/events?after=k``.
"""
