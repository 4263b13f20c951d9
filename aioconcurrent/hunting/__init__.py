"""Hunting: races out of the tests that a project has already.

The tests run once as they are, while each request that they make, each management
command and each named function is recorded: the *actions*.  What the records say
decides which pairs of actions can end as no serial order of them does.  Then the
tests with such pairs run again, and each pair is explored at the moment when the
test comes to it, with the rows as they are then.

What the tests say is told from the first run, which nothing has disturbed.
"""
