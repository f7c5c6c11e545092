"""The evaluation room: suites, scores and the gate.

``spec``, ``score`` and ``gate`` are pure and may be imported by anyone; ``generate_transformers`` and ``generate_gguf``
need the model libraries and are imported by the evaluation worker alone.
"""
