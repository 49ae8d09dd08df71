"""What an engine takes of memory, worked out before it is loaded: by device and by part.

Arithmetic over GGUF headers and a launch plan, after what llama.cpp allocates (b11434). It may import models and the
rest of engine, and starts nothing. Begin with estimate.
"""
