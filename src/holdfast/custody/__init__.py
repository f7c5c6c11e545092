"""Custody of the record: backups of a home, and homes restored from them.

``form`` is what a backup says of itself (pure), ``relog`` carries a log's events over to a new origin, ``restore`` makes a
home of a backup. A backup holds no private key, and nothing in it is believed but what the log vouches for.
"""
