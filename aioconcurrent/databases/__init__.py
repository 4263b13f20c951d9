"""Django's databases: the caller's connections, handed over to the wrappers, and no others.

The modules import Django when they are used, not when they are imported, so that a
process can learn where the databases are before its project starts.
"""
