"""`llama-tandem import`: a command line of llama.cpp, of any year, becomes an entry of `tandem.yaml`.

It is pure but for `router_folder`, and may import `config`, `engine.arguments`, `engine.dialect` and what is pure in
`models`. Begin with `entry.py`.
"""
