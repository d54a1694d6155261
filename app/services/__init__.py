"""Use cases: one public function is one transaction. No FastAPI, torch or APScheduler."""
