"""Engines on other machines: an agent on each, a sidecar process that speaks Ray, and their hosts in the gateway.

It may import `supervisor`, `planner` and everything below. Begin with `remote.py`, then `agent.py`.
"""
