"""Settings from the command line, the environment, `.env` and `tandem.yaml`, and what is wrong with them.

It may import `auth`, `records` and `errors`. Begin with `settings.py`, then `model_entry.py`.
"""
