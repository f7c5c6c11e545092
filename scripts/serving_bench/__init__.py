"""The parts of `scripts/bench_serving.py`.

`generated` makes a model and adapters of a size that is worth measuring, `figures` is the arithmetic, `client` asks a server and
keeps times, `rival` is llama-server, `ours` is Holdfast, `workload` is what both are asked.
"""
