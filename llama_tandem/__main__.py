"""`python -m llama_tandem` is `llama-tandem`."""

from llama_tandem import main

if __name__ == "__main__":
    main()
