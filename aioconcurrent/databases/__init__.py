"""Django's databases: handed over to the calls, guarded, watched, copied, and put back.

The modules import Django when they are used, not when they are imported, so that a
process can learn where the databases are before its project starts.
"""
