"""What a step of training changes: parameters, optimiser, random state, what was measured so far.

All of it can be kept and restored; what a step works on is planned (`app.training.schedule`). Must
not know models, examples or losses.
"""

from __future__ import annotations

import torch
from peft import PeftModel

from app.training.lora import trainable_parameters
from app.training.snapshots import Snapshot

_MEASURED_SO_FAR = (
    "best_epoch", "losses", "validation", "trained_tokens", "supervised_tokens", "seconds",
)  # fmt: skip


class TrainingState:
    """A training as it stands.

    Attributes:
        parameters: Those that learn.
        losses: Of every step so far.
        validation: Of every epoch so far that was measured.
        best_epoch: The one with the lowest of them, counted from 1; 0 while none was measured.
        seconds: Spent on the steps so far, before an interruption too.
    """

    def __init__(self, adapted: PeftModel, *, weight_decay: float) -> None:
        self.parameters = trainable_parameters(adapted)
        self._optimizer = torch.optim.AdamW(
            self.parameters,
            weight_decay=weight_decay,
            # Elsewhere torch chooses; on a CPU other sums would be other bytes than before.
            fused=True if any(p.device.type == "cuda" for p in self.parameters) else None,
        )
        self._best: list[torch.Tensor] = []
        self.best_epoch = 0
        self.losses: list[float] = []
        self.validation: list[float] = []
        self.trained_tokens = 0
        self.supervised_tokens = 0
        self.seconds = 0.0

    @property
    def steps(self) -> int:
        """How many steps were taken."""
        return len(self.losses)

    @property
    def is_past_best(self) -> bool:
        """Whether the last epoch that was measured was not better than the best before it."""
        return len(self.validation) > self.best_epoch

    def update(self, learning_rate: float) -> None:
        """Step along the gradients, and forget them."""
        for group in self._optimizer.param_groups:
            group["lr"] = learning_rate
        self._optimizer.step()
        # None, not zeros: the next gradient is then taken as it is, without an addition.
        self._optimizer.zero_grad(set_to_none=True)

    def end_epoch(self, epoch: int, validation: float) -> None:
        """Note how good the adapter is after an epoch, and keep it where it is the best so far."""
        # Only a lower loss is better: an equal one was bought with more distance from the base.
        if not self.validation or validation < min(self.validation):
            self.best_epoch = epoch
            self._best = [parameter.detach().clone() for parameter in self.parameters]
        self.validation.append(validation)

    def go_back_to_best(self) -> None:
        """Give the parameters what they were after the best epoch; nothing where none was kept."""
        with torch.no_grad():
            for parameter, best in zip(self.parameters, self._best, strict=False):
                parameter.copy_(best)
        self._best = []

    def snapshot(self) -> Snapshot:
        """All of it, so that `restore` goes on to the same bytes."""
        # Dropout, where a recipe has it, draws from torch's own numbers.
        tensors = {"random.cpu": torch.get_rng_state()}
        if torch.cuda.is_available():
            tensors["random.cuda"] = torch.cuda.get_rng_state()
        for i, parameter in enumerate(self.parameters):
            tensors[f"parameter.{i}"] = parameter.detach()
        for i, best in enumerate(self._best):
            tensors[f"best.{i}"] = best
        for i, moments in self._optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{i}.{name}": value for name, value in moments.items()}
        return Snapshot(
            tensors=tensors, facts={name: getattr(self, name) for name in _MEASURED_SO_FAR}
        )

    def restore(self, snapshot: Snapshot) -> None:
        """Become what a snapshot was made of."""
        for name in _MEASURED_SO_FAR:
            setattr(self, name, snapshot.facts[name])
        moments: dict[int, dict[str, torch.Tensor]] = {}
        best: dict[int, torch.Tensor] = {}
        with torch.no_grad():
            for name, value in snapshot.tensors.items():
                kind, place, *rest = name.split(".")
                if kind == "parameter":
                    self.parameters[int(place)].copy_(value)
                elif kind == "best":
                    best[int(place)] = value.to(self.parameters[int(place)].device)
                elif kind == "optimizer":
                    moments.setdefault(int(place), {})[rest[0]] = value
        self._best = [best[i] for i in sorted(best)]
        # Groups as they are: they hold the rate, which every step sets anew.
        groups = self._optimizer.state_dict()["param_groups"]
        self._optimizer.load_state_dict({"state": moments, "param_groups": groups})
        torch.set_rng_state(snapshot.tensors["random.cpu"])
        if "random.cuda" in snapshot.tensors:
            torch.cuda.set_rng_state(snapshot.tensors["random.cuda"])
