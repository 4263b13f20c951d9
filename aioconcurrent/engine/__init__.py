"""Processes: wrappers, the template they are forked from, and the barrier they start from.

Nothing in here knows Django.  What a process has to do before and after its
call is handed over as a `World` (see `world.py`).
"""
