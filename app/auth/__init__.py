"""Checks API keys, host names, web origins and rate limits: the access control of the gateway.

It may import `records` and `errors`. Begin with `guard.py`.
"""
