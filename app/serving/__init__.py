"""The chat process: llama.cpp behind HTTP on loopback. Knows nothing of the daemon."""
