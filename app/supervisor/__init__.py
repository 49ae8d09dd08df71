"""One supervised engine: states, start, readiness, stop and the child process.

It may import `planner`, `speculation`, `engine` and everything below. Begin with `states.py`, then `process.py`.
"""
