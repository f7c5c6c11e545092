"""The training room: recipes, run manifests, and the trainer itself.

``spec`` and ``manifest`` are pure and may be imported by anyone; ``tokens`` and ``packing`` turn examples into rows;
``sft`` and ``checkpoints`` need the training libraries and are imported by the training worker alone.
"""
