"""`ExperienceCollector` with the buffer file of the older scripts beside the daemon.

The daemon scores and keeps (`app.client.collector`). Where a `buffer_path` is given the same
experiences stand in that file too, and statistics and lists are of the file; an exchange that the
daemon does not take now is scored here, kept in the file, and delivered from the spool later.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from app.client import ExperienceCollector as DaemonCollector
from app.client.collector import DIMENSIONS, HIGH_SALIENCE, RECENT_WINDOW, collapse_status
from app.clock import new_id, utc_now
from app.domain.policy import SleepPolicy
from app.older.buffer import add_to_buffer, read_experience_buffer, total_of
from app.older.scorer import ConversationalSalienceScorer


class ExperienceCollector(DaemonCollector):
    """Scores and keeps a session's exchanges.

    Attributes:
        buffer_path: The file beside the daemon; None for none.
        experiences: Its records; without a file, those of this session.
        salience_threshold: Least `total` of what is kept in the file while the daemon is away.
        scorer: Scores then.

    Raises:
        InvalidImportFile: What lies at `buffer_path` is no buffer.
    """

    def __init__(
        self,
        buffer_path: Path | str | None = None,
        salience_threshold: float | None = None,
        machine_name: str | None = None,
        model_name: str | None = None,
        **arguments: Any,
    ) -> None:
        """Read the file, and open the spool; the arguments are those of the client's."""
        self.buffer_path = None if buffer_path is None else Path(buffer_path)
        self.experiences: list[dict[str, Any]] = (
            [] if self.buffer_path is None else read_experience_buffer(self.buffer_path)
        )
        self.salience_threshold = (
            SleepPolicy().min_salience if salience_threshold is None else salience_threshold
        )
        self.scorer = ConversationalSalienceScorer()
        for record in self.experiences:
            self.scorer.remember(record["response"])
        super().__init__(buffer_path, salience_threshold, machine_name, model_name, **arguments)

    def add_exchange(
        self,
        prompt: str,
        response: str,
        session_number: int | None = None,
        phase: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        tool_calls: Sequence[Mapping[str, Any]] | None = None,
        **arguments: Any,
    ) -> dict[str, Any]:
        """Keep one exchange; see the client's. `experience_id` is there only where it is stored.

        Raises: SpoolFull, SpoolUnusable, InvalidImportFile.
        """
        answer = super().add_exchange(
            prompt, response, session_number, phase, metadata, tool_calls, **arguments
        )
        if answer["spooled"]:
            answer |= self._judge_here(prompt, response, tool_calls)
        else:
            self.scorer.remember(response)
        if not answer["stored"]:
            del answer["experience_id"]
            return answer
        if not answer["duplicate"]:
            self._keep(
                {
                    "id": answer["experience_id"],
                    "prompt": prompt,
                    "response": response,
                    "salience": dict(answer["salience"]),
                    "session": self.session if session_number is None else session_number,
                    "phase": phase,
                    "timestamp": utc_now().isoformat(),
                    "metadata": dict(metadata or {}),
                    **({"tool_calls": list(tool_calls)} if tool_calls else {}),
                }
            )
        return answer

    def get_stats(self) -> dict[str, Any]:
        """Count and average: the file's records; without a file, what the daemon has."""
        if self.buffer_path is None:
            return super().get_stats()
        totals = [total_of(record) for record in self.experiences]
        times = sorted(str(r["timestamp"]) for r in self.experiences if r.get("timestamp"))
        return {
            "total_experiences": len(totals),
            "avg_salience": _mean(totals),
            "high_salience_count": sum(total >= HIGH_SALIENCE for total in totals),
            "dimension_averages": {
                name: _mean([float(r["salience"].get(name, 0.0)) for r in self.experiences])
                for name in DIMENSIONS
            },
            "oldest_experience": times[0] if times else None,
            "newest_experience": times[-1] if times else None,
            "spooled": len(self.spool),
            "reason": None,
        }

    def get_high_salience_experiences(
        self, min_salience: float = HIGH_SALIENCE, limit: int | None = None
    ) -> list[dict[str, Any]]:
        """The file's records, most salient first; without a file, the daemon's."""
        if self.buffer_path is None:
            return super().get_high_salience_experiences(min_salience, limit)
        found = [record for record in self.experiences if total_of(record) >= min_salience]
        return sorted(found, key=total_of, reverse=True)[:limit]

    def get_collapse_status(self) -> dict[str, Any]:
        """Judge the newest replies of the file; without one, the daemon's."""
        if self.buffer_path is None:
            return super().get_collapse_status()
        newest = [record["response"] for record in self.experiences[-RECENT_WINDOW:]]
        return collapse_status(newest)

    def _judge_here(
        self, prompt: str, response: str, tool_calls: Sequence[Mapping[str, Any]] | None
    ) -> dict[str, Any]:
        """What the daemon would have said, from what this collector knows."""
        if self.buffer_path is None:
            return {}
        finding = self.scorer.find_collapse(response)
        salience = self.scorer.score_exchange(prompt, response, {"tool_calls": tool_calls})
        is_stored = not finding.is_filtered and salience["total"] >= self.salience_threshold
        return {
            "salience": salience,
            "stored": is_stored,
            "filtered": finding.is_filtered,
            "filter_reason": finding.reason,
            "similarity": finding.similarity,
            "experience_id": new_id() if is_stored else None,
        }

    def _keep(self, record: dict[str, Any]) -> None:
        if self.buffer_path is None:
            self.experiences.append(record)
        else:
            self.experiences = add_to_buffer(self.buffer_path, record)


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0
