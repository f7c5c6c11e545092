"""Serving: an OpenAI-compatible endpoint over llama.cpp, with a receipt for every answer.

``spec`` and ``keys`` are pure and may be imported by anybody; the rest runs in the serve worker alone. A request goes
``openai`` (who asks, what is asked) → ``answer`` (its life: intent, tokens, outcome) → ``engine`` → ``scheduler`` (which
sequence is computed next) → ``llama`` (weights and contexts), and its text comes back through ``text``.
"""
