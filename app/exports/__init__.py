"""What a checkpoint is in another runtime's files: numpy and gguf, no torch or database."""
