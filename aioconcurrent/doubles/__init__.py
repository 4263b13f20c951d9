"""Test doubles: what a test has put in place of attributes, taken along into the calls, and what the calls did to it.

`patches` finds them in the caller's process, `mocks` and `http` know how those of
some libraries travel, and `journey` takes them there and their calls back; `outbox` is
Django's own double, of what sends e-mails.
"""
