"""The GGUF room: convert, quantize and measure models for llama.cpp.

`spec` and `vocabulary` are pure. The other modules load llama.cpp, torch or upstream's converters, and only workers import
them.
"""
