"""Serving, as the daemon runs it: what is asked for, planned, launched, kept alive and told.

``serving`` takes what people and releases ask for; ``wanted`` says what that is and whether it may be, ``planning`` what it is made
of, ``switch`` makes a change ready. ``deployment`` is what runs: ``pool`` the engines (``engine``), ``front`` the worker that speaks
to applications, ``door`` the socket and the certificate. ``keys`` and ``keystore`` are applications' keys, ``usage`` what they used.
"""
