"""Records data that outlives a restart or is counted: failures, measurements, usage and metrics.

It may import `errors` and `logs`. Begin with `database.py`.
"""
