"""The name of a race, the story of what happened, and a hint at the fix."""
