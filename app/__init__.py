"""SAGE Sleep: a daemon that consolidates what mattered in live sessions into LoRA adapters."""
