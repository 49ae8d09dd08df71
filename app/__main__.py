"""`python -m app` is `llama-tandem`."""

from app.cli import main

if __name__ == "__main__":
    main()
