"""The decoder of Llama and Qwen2 written by hand for a CPU: forward, backward, no autograd."""
