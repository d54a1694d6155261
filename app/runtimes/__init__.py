"""Programs that let a model talk, and what they must be told of a checkpoint."""
