"""The residency report: what a site holds, did and refused, drawn from its audit log.

``facts`` folds events into plain data, ``render`` and ``residency.typ`` make the pages, ``sign`` and ``folder`` make the
folder that leaves the site, and ``verify`` checks that folder on a machine that has neither daemon nor typesetter.
"""
