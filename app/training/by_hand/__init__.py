"""The decoder of Llama and Qwen2 written by hand for a CPU: forward, backward, no autograd.

`README.md` beside this file has the mathematics, the figures and how to add a block.
"""
