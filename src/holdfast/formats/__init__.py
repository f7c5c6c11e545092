"""Bounded readers of the file formats that may enter: each judges bytes and callbacks, opens nothing and runs nothing."""
