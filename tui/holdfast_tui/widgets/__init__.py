"""Widgets of our own: the trust strip, the line of keys, the loss chart, the transcript."""
