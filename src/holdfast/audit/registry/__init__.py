"""The declarations of every action, by room; ``holdfast.audit.actions`` puts them together."""
