"""Races and explorations without end, with faults at random points: `hatch run soak`.

`__main__.py` starts a process that races (`host.py`) and watches it, `plan.py` says what each race is, `calls.py`
has the faults of calls, `judge.py` what may come of them, and `leftovers.py` finds what stays behind.
"""
