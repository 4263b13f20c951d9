"""Test doubles: what replaces attributes in a test is carried into the calls, and its records are brought back.

`patches` finds them in the caller's process, `mocks` and `http` know how those of some
libraries are pickled, and `transfer` carries them over and brings their calls back.  `outbox`
does the same for Django's outbox of e-mails.
"""
