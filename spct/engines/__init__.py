"""Turns one prompt into n completions: the implementations of `spct.protocols.Engine`."""
