"""What `ls`, `rm` and `verify` tell of models on disk."""
