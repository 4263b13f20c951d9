"""The ground: texts, the data model, pickling, clocks and calls; imports nothing of the package but errors."""
