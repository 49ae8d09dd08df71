"""Decides about speculative decoding: compatibility, the mode to launch, and what `auto` learns.

It is pure and may import `engine`, `models` and everything below. Begin with `resolve.py`.
"""
