"""The terminal console: what a person at the appliance sees and does, by keyboard, at 80 columns and 24 lines.

It speaks to the daemon through ``holdfast.client`` alone and holds no model. One registry (``actions``) feeds the bindings,
the line of keys, the help and the command palette; workers post messages, and only handlers touch widgets.
"""
