"""Finds model files by name: the catalog, GGUF headers, the Hub, downloads and the disk.

It may import `config` and everything below. Begin with `catalog.py`.
"""
