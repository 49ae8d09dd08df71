"""Models on disk and on the Hub; the only user of huggingface_hub."""
