"""What `search`, `show`, `ls`, `rm` and `verify` tell of models on the Hub and on disk."""
