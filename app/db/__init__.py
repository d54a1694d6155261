"""SQL only: functions take a Session; they never commit, log or speak HTTP."""
