"""Sphinx: `hatch run docs:build` makes the pages."""

from importlib import metadata

project = "aioconcurrent"
author = "aioconcurrent contributors"
release = metadata.version("aioconcurrent")
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
html_theme = "furo"
html_title = "aioconcurrent"
exclude_patterns = ["_build"]
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_type_aliases = {"Target": "Target"}
napoleon_google_docstring = True
myst_heading_anchors = 3
