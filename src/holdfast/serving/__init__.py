"""Serving: an OpenAI-compatible endpoint over llama.cpp, with a receipt for every answer.

Two sorts of processes: the front (``front``, ``api``) speaks to applications, knows their keys and records; an engine
(``engine``) computes with one set of weights and knows neither. ``link`` is what they say to each other; ``linkwriter`` and
``linkreader`` put it into bytes and take it out again. ``spec``, ``keys`` and ``quota`` are pure and may be imported by anybody.
"""
