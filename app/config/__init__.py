"""Reads and validates settings: the command line, the environment, `.env` and `tandem.yaml`.

It may import `auth`, `records` and `errors`. Begin with `settings.py`, then `model_entry.py`.
"""
