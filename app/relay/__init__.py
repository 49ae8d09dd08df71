"""Relays one request: reads it, takes a lease on an engine, asks the upstream and passes the bytes back.

It may import `scheduler` and everything below. It is plain ASGI and imports no web framework. Begin with `relay.py`,
then read the folders in this order: `request`, `upstream`, `response`, `buffered`.
"""
