"""Explorations: which orders to run, what is wrong with an ending, what it is called; `explorer` drives all of it."""
