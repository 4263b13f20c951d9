"""The parts of the pytest plugin, which is `aioconcurrent/pytest_plugin.py`.

Like the plugin, they import nothing that a run without races can do without.
"""
