"""Model names and model files: the catalog, GGUF headers, the Hub, downloads and the disk.

It may import `config` and everything below. Begin with `catalog.py`.
"""
