"""Which orders to run: what steps touch, when the order of two matters, and the search through those that do."""
