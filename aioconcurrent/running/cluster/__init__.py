"""Workers of dask that make runs of an exploration."""
