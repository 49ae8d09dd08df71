"""The abilities, the launch and the diagnosis of one build of llama-server.

This folder may import `models` and everything below. Begin with `locate.py`, then `dialect.py` and `launch.py`.
"""
