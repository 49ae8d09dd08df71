"""Downloads of a running gateway, started by a user or by the first request for a missing model.

It may import `speculation`, `engine`, `models` and everything below. Begin with `registry.py`.
"""
