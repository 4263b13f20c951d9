"""What type checkers say about code that uses this library; `hatch check types` runs mypy and pyright on it.

Each mistake has a comment that silences one checker, and both report a comment that silences nothing.
"""
