"""What the Responses and the Messages API share: chat completions behind another API's requests and answers.

It may import the rest of `api`, `relay`, `models` and `auth`. Begin with `relay.py`.
"""
