"""The ground: the data model, pickling, clocks and calls; imports nothing of the package but texts and errors."""
