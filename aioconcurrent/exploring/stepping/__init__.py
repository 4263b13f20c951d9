"""Runs of an order: the calls let go step by step, on one of the places where runs are made."""
