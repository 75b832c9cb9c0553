"""Wiring only: each module builds one pipeline and exports `builder` and `graph`."""
