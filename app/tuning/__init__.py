"""`llama-tandem tune`: speculation modes are compared by paired, interleaved measurements.

It may import `supervisor` and everything below, and not the relay: its engines answer it directly. Begin with
`command.py`, then `run.py`.
"""
