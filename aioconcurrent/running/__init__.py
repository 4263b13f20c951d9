"""From checked calls to results: options, the project around the calls, races and explorations."""
