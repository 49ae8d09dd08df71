"""Models on disk: where files lie, what is complete, what is in use, deletion and verification.

It may import the rest of `models`. Begin with `layout.py`, then `inventory.py`.
"""
