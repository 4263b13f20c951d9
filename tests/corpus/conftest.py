"""The corpus needs the packages that it is about: `hatch run corpus:test` has them."""

from importlib.util import find_spec

collect_ignore = [] if find_spec("taggit") else ["test_corpus.py"]
