"""Maintainers' tools that make `bundles/starter`; never imported by the product and never installed."""
