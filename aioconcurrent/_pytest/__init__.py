"""The rooms of the pytest plugin, which is `aioconcurrent/pytest_plugin.py`.

Like that module, they import nothing that a run without races can do without.
"""
