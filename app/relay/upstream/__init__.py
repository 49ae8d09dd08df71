"""Talks to the servers behind the gateway: HTTP/1.1 connections, their pool, one request and its response.

It may import `relay.request`, `scheduler` and what lies below. Begin with `router.py`, then `client.py`.
"""
