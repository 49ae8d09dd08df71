"""A stand-in for Ray's package, as far as `node start` uses it: `python -m ray.scripts.scripts start`."""
