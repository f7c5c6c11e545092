"""Training runs: submitted, started, estimated, stopped, resumed, replayed, shown.

``sources`` says what a run is made from, ``find`` how runs are named; other rooms use these two through this package's own
names, and clients reach the rest through the routes.
"""

from holdfast.daemon.runs.find import find_run, is_number, product, state_of
from holdfast.daemon.runs.sources import Inputs, inputs_of, model_parts, read_recipe

__all__ = (
    "Inputs",
    "find_run",
    "inputs_of",
    "is_number",
    "model_parts",
    "product",
    "read_recipe",
    "state_of",
)
