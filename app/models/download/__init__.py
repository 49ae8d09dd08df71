"""Downloads models and resumes partial downloads: what to fetch, in which ranges, and a journal that survives a kill.

It may import the rest of `models`. Begin with `plan.py`, then `file.py`.
"""
