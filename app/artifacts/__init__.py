"""Files of checkpoints on disk. No SQL, torch or HTTP; no name comes from a client."""
