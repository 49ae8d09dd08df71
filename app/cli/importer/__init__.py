"""`llama-tandem import`: converts a llama.cpp command, of any year, to an entry of `tandem.yaml`.

It is pure except for `router_folder`, and may import `config`, `engine.arguments`, `engine.dialect` and the pure part
of `models`. Begin with `entry.py`.
"""
