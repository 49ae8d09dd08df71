"""`llama-tandem tune`: compares speculation modes by paired, interleaved measurements.

It may import `supervisor` and everything below, but not the relay, since its engines answer directly. Begin with
`command.py`, then `run.py`.
"""
