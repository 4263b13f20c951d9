"""Explorations: `explorer` drives the search for an order that goes wrong, from the first run to the verdict."""
