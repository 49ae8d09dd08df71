"""The page: HTML, CSS and ES modules that a browser gets as they are, and the files of them that there are.

It may import nothing of the gateway. Begin with `static/index.html`, then `static/app.js`.
"""
