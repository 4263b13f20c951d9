"""Hunting, with a small project that has three races and three safe twins of them."""
