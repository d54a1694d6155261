"""Everything heavy: examples, models, LoRA, evaluation. Never db, services, api or settings."""
