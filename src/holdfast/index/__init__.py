"""The index of the audit log: every event in typed, documented DuckDB tables and views, for people's SQL.

It is no evidence: it can be deleted at any time and is built again from the log's segments. ``ingest`` fills it, ``query``
answers from it. This package alone imports duckdb, and only the confined index worker imports this package.
"""
