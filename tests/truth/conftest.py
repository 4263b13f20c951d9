"""What the tests of truth share: the places of the tests of exploring."""

from tests.explore.conftest import place, unhurried

__all__ = ["place", "unhurried"]
