"""What one build of llama-server can do, and how it is launched and diagnosed.

It may import `models` and everything below. Begin with `locate.py`, then `dialect.py` and `launch.py`.
"""
