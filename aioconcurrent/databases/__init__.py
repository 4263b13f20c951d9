"""Django's databases: handing the caller's over to the wrappers, and nobody else's.

The modules import Django when they are used, not when they are imported, so
that a process can be told where the databases are before its project starts.
"""
