"""API keys, host names, web origins and rate limits: which request may come in.

It may import `records` and `errors`. Begin with `guard.py`.
"""
