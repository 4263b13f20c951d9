"""Drawings of who did what when."""
