"""The evaluation room: suites, what models say to them, scores, gates, comparisons, and export.

Order of operations: ``spec`` reads a suite; an engine (``generate_transformers``, ``generate_gguf``) is asked by ``responses``;
``score`` judges with ``scorers`` and sums up; programs that were generated are run by ``execution`` and judged by ``code``;
``gate`` and ``compare`` read the results. All but the engines, ``words`` and ``execution`` are pure and may be imported by
anyone; those three load models or start processes, and are imported in workers alone.
"""
