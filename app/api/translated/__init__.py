"""The shared part of the Responses and Messages APIs: their requests and answers from chat completions.

It may import the rest of `api`, `relay`, `models` and `auth`. Begin with `relay.py`.
"""
