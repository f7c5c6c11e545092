"""The daemon's routes, one module for each part of the contract; no logic here: one call into the room of that name."""
