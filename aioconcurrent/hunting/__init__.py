"""Hunting: races found with the tests that a project already has.

The tests run once as they are, while each request that they make, each management command
and each named function is recorded: the *actions*.  The records tell which pairs of actions
could end as no serial order of them does.  Then the tests with such pairs run again, and
each pair is explored when the test comes to it, with the rows of that moment.

The results of the tests are those of the first run, which nothing has disturbed.
"""
