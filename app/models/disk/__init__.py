"""Manages models on disk: where files are, whether they are complete or in use, deletion and verification.

It may import the rest of `models`. Begin with `layout.py`, then `inventory.py`.
"""
