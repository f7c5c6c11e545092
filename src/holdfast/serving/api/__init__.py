"""The OpenAI-compatible interface: what applications may send, and in what form they are answered.

It holds no model and takes no decision about who may ask: requests come through the front's gate, and go to its desk.
"""
