"""What computes answers: llama.cpp, its vocabulary, chat template, grammars and sampling, for one set of weights.

Only ``workers.engine`` imports it. Nothing here knows keys, the audit log or another model.
"""
