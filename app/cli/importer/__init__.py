"""`llama-tandem import`: a command line of llama.cpp, of any year, becomes an entry of `tandem.yaml`.

It is pure and may import `config`, `engine.arguments` and `engine.dialect`. Begin with `entry.py`.
"""
