"""Estimates an engine's memory before it is loaded: by device and by part.

Arithmetic over GGUF headers and a launch plan, after what llama.cpp allocates (b11434). This folder may import models
and the rest of engine, and starts nothing. Begin with `estimate.py`.
"""
