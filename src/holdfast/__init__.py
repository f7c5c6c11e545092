"""Holdfast: an air-gapped appliance distribution for sovereign AI.

Start with ``artefact`` (the one domain record), ``errors`` (how anything is refused), ``audit.event`` (what is
recorded), ``trust.workflow`` (what may enter) and ``daemon.app`` (where it all meets).
"""

__version__ = "0.1.0"
