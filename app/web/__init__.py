"""The page: HTML, CSS and ES modules that browsers get unchanged, and the list of these files.

It may import nothing of the gateway. Begin with `static/index.html`, then `static/app.js`.
"""
