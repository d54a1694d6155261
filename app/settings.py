"""Every setting of the daemon: name, default, range and what it means.

Read from the environment (prefix `SAGE_`) or from the TOML file that `SAGE_CONFIG_FILE` names; the
environment wins. There is no global instance: the composition root reads it once and passes on
what each part needs.
"""

from __future__ import annotations

import os
import re
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Literal, Self
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import platformdirs
from pydantic import Field, field_validator, model_validator
from pydantic_settings import (
    BaseSettings,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from app.domain.categories import (
    DEFAULT_CATEGORIES,
    CategoryFloors,
    CategoryRules,
    check_floors,
    lay_over_categories,
)
from app.domain.gate import GatePolicy
from app.domain.instance import EMBEDDED_MODEL_NAME, SAGE_SYSTEM_PROMPT, InstanceDefaults
from app.domain.near_copies import MIN_JACCARD
from app.domain.policy import Promotion, QuietHours, SleepPolicy
from app.domain.presets import PRESET_FIELD, Preset, lay_over
from app.domain.recipe import ALL_LINEAR_MODULES, Recipe
from app.domain.variations import VariationKind
from app.errors import InvalidPolicy

CONFIG_FILE_VARIABLE = "SAGE_CONFIG_FILE"

GATE = GatePolicy()

REMOTE_REQUESTS_PER_MINUTE = 6000
"""A guess: a hundred times what one live session asks, and a tenth of what the daemon does."""

Names = Annotated[tuple[str, ...], NoDecode]
"""In the environment, names with commas between."""

Nats = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1)]


class Settings(BaseSettings):
    """Frozen settings; an unknown name in the file is an error."""

    model_config = SettingsConfigDict(env_prefix="SAGE_", frozen=True, extra="forbid")

    data_dir: Path = Field(
        default_factory=lambda: platformdirs.user_data_path("sage-sleep"),
        description="Where database, checkpoints and the embedded model are kept.",
    )
    database_url: str | None = Field(
        default=None, description="SQLAlchemy URL; default: sage-sleep.db in the data directory."
    )
    host: str = Field(default="127.0.0.1", description="Address to listen on.")
    port: Annotated[int, Field(ge=0, le=65535, description="Port to listen on.")] = 8760
    tls_certificate: Path | None = Field(
        default=None, description="PEM file with the certificate and its chain; with tls_key."
    )
    tls_key: Path | None = Field(default=None, description="PEM file with the certificate's key.")
    require_tokens: bool | None = Field(
        default=None,
        description="None: elsewhere than on loopback always, there once a token was made.",
    )
    allowed_hosts: Names = Field(
        default=(), description="Further names it is called by: sage.example,sage.local."
    )
    allowed_origins: Names = Field(
        default=(), description="Web pages that may use it: https://board.example."
    )
    trusted_proxies: Names = Field(
        default=(), description="Addresses whose X-Forwarded-For and -Proto are believed."
    )
    requests_per_minute: Annotated[int, Field(ge=0)] | None = Field(
        default=None,
        description="Per token, or address without one; 0: any; default: 6000, any on loopback.",
    )
    max_connections: Annotated[int, Field(ge=1)] = 512
    header_timeout_seconds: Annotated[
        float, Field(gt=0, description="For a request's head, from its first byte.")
    ] = 10.0
    body_timeout_seconds: Annotated[float, Field(gt=0, description="For a request's body.")] = 60.0
    stalled_timeout_seconds: Annotated[
        float, Field(gt=0, description="For a client that reads nothing of its answer.")
    ] = 60.0
    base_model: str | None = Field(
        default=None,
        description="Hub id or directory of the base model; default: the embedded model.",
    )
    system_prompt: str = Field(
        default=SAGE_SYSTEM_PROMPT, description="Identity prompt an instance starts with."
    )
    tensorboard_dir: Path | None = Field(
        default=None,
        description="Where each cycle leaves its curves for TensorBoard; none: nowhere.",
    )
    timezone: str = Field(default="UTC", description="IANA zone of the quiet hours.")
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: Literal["auto", "pretty", "json"] = Field(
        default="auto", description="auto: pretty on a terminal, else json."
    )

    mass_threshold: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 20.0
    min_salience: Annotated[float, Field(ge=0, le=1)] = 0.5
    min_experiences: Annotated[int, Field(ge=1)] = 10
    min_interval_seconds: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 6 * 3600
    idle_seconds: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 60.0
    quiet_hours: str | None = Field(
        default=None, description="Local hours in which no cycle starts by itself: 22:00-07:00."
    )
    max_experiences: Annotated[int, Field(ge=1, le=4096)] = 256
    max_prompt_share: Annotated[
        float, Field(ge=0, le=1, description="Of a cycle, for one prompt; 1: no rule.")
    ] = 0.25
    max_phase_share: Annotated[
        float, Field(ge=0, le=1, description="Of a cycle, for one phase; 1: no rule.")
    ] = 1.0
    max_pattern_share: Annotated[
        float, Field(ge=0, le=1, description="Of a cycle, for replies that begin alike; 1: none.")
    ] = 1.0
    near_duplicate_jaccard: Annotated[
        float, Field(ge=MIN_JACCARD, le=1, description="From which a reply is a copy; 1: no rule.")
    ] = 0.8
    category_floors: CategoryFloors = Field(
        default={}, description='Of a cycle, at least, where enough waits: {"identity": 0.1}.'
    )
    categories: CategoryRules = Field(
        default={}, description='Phrases in place of those shipped: {"identity": ["who are you"]}.'
    )
    promotion: Promotion = Field(
        default=Promotion.AUTOMATIC,
        description="manual: an accepted checkpoint is a candidate until a person promotes it.",
    )
    rebuild_every_cycles: Annotated[
        int, Field(ge=0, description="Stacked updates before a new start from the base; 0: never.")
    ] = 10
    regression_reports: Annotated[
        int, Field(ge=0, le=1000, description="Bad session reports that roll back; 0: never.")
    ] = 3
    regression_window: Annotated[
        int, Field(ge=1, le=1000, description="The newest reports among which they are counted.")
    ] = 5
    max_repetition_ratio: Annotated[
        float, Field(ge=0, le=1, description="A session report above it is bad.")
    ] = 0.5
    min_report_score: Annotated[
        float, Field(ge=0, le=1, description="A session report below it is bad.")
    ] = 0.25
    retain_text_days: Annotated[
        int,
        Field(ge=0, le=36500, description="Until texts that wait for no cycle go; 0: they stay."),
    ] = 0
    retain_checkpoints: Annotated[
        int, Field(ge=0, le=100_000, description="Of the newest, those that keep files; 0: all.")
    ] = 10

    preset: Preset = Field(
        default=Preset.STANDARD,
        description="Recipe to start from; the fields below replace single values of it.",
    )
    epochs: Annotated[int, Field(ge=1, le=100)] = 2
    learning_rate: Annotated[float, Field(gt=0, le=1)] = 4e-4
    batch_size: Annotated[int, Field(ge=1, le=256)] = 4
    r: Annotated[int, Field(ge=1, le=512)] = 16
    lora_alpha: Annotated[int, Field(ge=1, le=1024)] = 32
    lora_dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    target_modules: Annotated[tuple[str, ...], NoDecode] = Field(
        default=ALL_LINEAR_MODULES, description="In the environment: q_proj,v_proj."
    )
    weight_decay: Annotated[float, Field(ge=0, le=1)] = 0.0
    warmup_ratio: Annotated[float, Field(ge=0, le=1)] = 0.1
    max_grad_norm: Annotated[float, Field(gt=0)] = 1.0
    max_length: Annotated[int, Field(ge=16, le=32768, description="Tokens per example.")] = 1024
    rehearsal_share: Annotated[
        float, Field(ge=0, le=1, description="Earlier experiences for each new one trained.")
    ] = 0.3
    anchor_weight: Annotated[
        float, Field(ge=0, le=100, description="Of the KL to the base on anchors; 0 for none.")
    ] = 1.0
    anchors_per_batch: Annotated[int, Field(ge=1, le=40)] = 2
    anchor_interval: Annotated[
        int, Field(ge=1, le=1000, description="Anchors stand beside one batch of so many.")
    ] = 3
    variations: Annotated[tuple[VariationKind, ...], NoDecode] = Field(
        default=(),
        description="Trained on beside experiences: paraphrased_prompt,dropped_context,"
        "shuffled_context.",
    )
    variation_share: Annotated[
        float, Field(ge=0, le=3, description="Variations for each trained experience, at most.")
    ] = 0.5
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    probe_prompts: tuple[str, ...] = Field(
        default=("Who are you?",), description="Answered before and after each cycle."
    )

    gate_held_out_tolerance: Nats = GATE.held_out_tolerance
    gate_replaced_tolerance: Nats = GATE.replaced_tolerance
    gate_inert_limit: Nats = GATE.inert_limit
    gate_reload_tolerance: Nats = GATE.reload_tolerance
    gate_general_kl: Nats = GATE.general_kl
    gate_general_loss_rise: Nats = GATE.general_loss_rise
    gate_anchor_kl: Nats = GATE.anchor_kl
    gate_repetition_rise: Share = GATE.repetition_rise
    gate_looping_rise: Share = GATE.looping_rise
    gate_distinct_fall: Share = GATE.distinct_fall
    gate_similar_pairs_rise: Share = GATE.similar_pairs_rise
    gate_question_floods_rise: Share = GATE.question_floods_rise
    gate_copies_rise: Share = GATE.copies_rise
    gate_disclaimers_rise: Share = GATE.disclaimers_rise
    gate_self_references_fall: Share = GATE.self_references_fall
    gate_scales: tuple[Annotated[float, Field(gt=0, le=1)], ...] = Field(
        default=GATE.scales,
        min_length=1,
        description="Of the adapter, tried in turn before it is refused for forgetting.",
    )
    gate_update_norm: Annotated[float, Field(ge=0, allow_inf_nan=False)] = GATE.update_norm
    gate_broken_kl: Nats = GATE.broken_kl

    scheduler_interval_seconds: Annotated[float, Field(gt=0)] = 30.0
    upkeep_interval_seconds: Annotated[
        float, Field(gt=0, description="Between looks at files and at what may go by policy.")
    ] = 24 * 3600
    max_body_bytes: Annotated[int, Field(ge=1024)] = 8 * 1024 * 1024
    max_held_bytes: Annotated[
        int, Field(ge=1024, description="Of bodies whose requests are not answered yet.")
    ] = 64 * 1024 * 1024
    max_queued_exchanges: Annotated[
        int, Field(ge=1, description="Single posts that wait to be written.")
    ] = 4096
    stop_grace_seconds: Annotated[float, Field(ge=0)] = 8.0
    stall_seconds: Annotated[
        float, Field(gt=0, description="A training process silent for so long is killed.")
    ] = 1800.0
    """A guess: a step of the embedded model takes seconds on 2 busy cores; one of 256 long
    exchanges on a slow machine may take many minutes."""
    snapshot_interval_seconds: Annotated[
        float, Field(ge=0, description="Training time that a killed cycle repeats at most.")
    ] = 30.0

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Arguments win over the environment, which wins over the file."""
        sources: list[PydanticBaseSettingsSource] = [init_settings, env_settings]
        if config_file := os.environ.get(CONFIG_FILE_VARIABLE):
            sources.append(TomlConfigSettingsSource(settings_cls, toml_file=config_file))
        return tuple(sources)

    @field_validator("quiet_hours")
    @classmethod
    def _parse_quiet_hours(cls, value: str | None) -> str | None:
        if value is not None:
            try:
                QuietHours.parse(value)
            except InvalidPolicy as error:
                raise ValueError(error.message) from error
        return value

    @field_validator(
        "target_modules",
        "variations",
        "allowed_hosts",
        "allowed_origins",
        "trusted_proxies",
        mode="before",
    )
    @classmethod
    def _split(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        return [name.strip() for name in value.split(",") if name.strip()]

    @field_validator("allowed_origins")
    @classmethod
    def _check_origins(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for origin in value:
            if not re.fullmatch(r"https?://[^/*\s]+", origin):
                raise ValueError(f"{origin!r} is no origin; write one as https://board.example")
        return value

    @field_validator("tls_certificate", "tls_key", "tensorboard_dir")
    @classmethod
    def _expand_file(cls, value: Path | None) -> Path | None:
        return None if value is None else value.expanduser().absolute()

    @model_validator(mode="after")
    def _check_floors(self) -> Self:
        try:
            check_floors(self.category_floors, self.effective_categories)
        except InvalidPolicy as error:
            raise ValueError(error.message) from error
        return self

    @model_validator(mode="after")
    def _check_access(self) -> Self:
        if (self.tls_certificate is None) != (self.tls_key is None):
            raise ValueError("SAGE_TLS_CERTIFICATE and SAGE_TLS_KEY go together; set both")
        if self.require_tokens is False and not self.is_loopback:
            raise ValueError(
                f"SAGE_REQUIRE_TOKENS=false is for loopback, and SAGE_HOST is {self.host}"
            )
        return self

    @field_validator("timezone")
    @classmethod
    def _know_timezone(cls, value: str) -> str:
        try:
            ZoneInfo(value)
        except (ZoneInfoNotFoundError, ValueError, OSError) as error:
            raise ValueError(
                f"unknown time zone {value!r}; use one such as Europe/Lisbon"
            ) from error
        return value

    @field_validator("data_dir")
    @classmethod
    def _expand(cls, value: Path) -> Path:
        return value.expanduser().absolute()

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach the daemon."""
        try:
            return ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"

    @property
    def is_any_address(self) -> bool:
        """Whether it listens on every address of the machine."""
        return self.host in {"", "0.0.0.0", "::"}  # noqa: S104  # compared, not listened on

    @property
    def effective_allowed_hosts(self) -> frozenset[str]:
        """Every name that the daemon may be called by."""
        return frozenset({"localhost", "127.0.0.1", "::1", self.host, *self.allowed_hosts})

    @property
    def effective_requests_per_minute(self) -> int:
        """The limit with its default filled in; 0 for none."""
        if self.requests_per_minute is not None:
            return self.requests_per_minute
        return 0 if self.is_loopback else REMOTE_REQUESTS_PER_MINUTE

    @property
    def effective_categories(self) -> dict[str, tuple[str, ...]]:
        """The shipped categories, with those set in place of the ones of the same name."""
        return lay_over_categories(DEFAULT_CATEGORIES, self.categories)

    @property
    def demands_tokens(self) -> bool | None:
        """Whether tokens are demanded; None for as soon as one was made."""
        return self.require_tokens if self.is_loopback else True

    @property
    def effective_database_url(self) -> str:
        """The database URL with its default filled in."""
        return self.database_url or f"sqlite:///{self.data_dir / 'sage-sleep.db'}"

    @property
    def models_dir(self) -> Path:
        """Where fetched base models lie."""
        return self.data_dir / "models"

    @property
    def checkpoints_dir(self) -> Path:
        """Root of the published checkpoints and of the staging area."""
        return self.data_dir / "checkpoints"

    @property
    def kept_dir(self) -> Path:
        """Where anchors and what else is measured of a base once are kept."""
        return self.data_dir / "kept"

    @property
    def snapshots_dir(self) -> Path:
        """Where trainings that are under way keep their snapshots."""
        return self.data_dir / "snapshots"

    @property
    def scratch_dir(self) -> Path:
        """Where reproduce and calibrate train; empty while neither runs."""
        return self.data_dir / "scratch"

    @property
    def effective_base_model(self) -> str:
        """The base model with its default, the embedded model, filled in."""
        return self.base_model or str(self.models_dir / EMBEDDED_MODEL_NAME)

    def instance_defaults(self) -> InstanceDefaults:
        """What an instance has as long as it does not override it."""
        recipe_fields = Recipe.__dataclass_fields__
        set_by_hand = {
            name: getattr(self, name) for name in recipe_fields if name in self.model_fields_set
        }
        gate_fields = GatePolicy.__dataclass_fields__
        read_here = {"quiet_hours", "categories"}
        policy_fields = set(SleepPolicy.__dataclass_fields__) - read_here
        return InstanceDefaults(
            base_model=self.effective_base_model,
            system_prompt=self.system_prompt,
            timezone=self.timezone,
            policy=SleepPolicy(
                **{name: getattr(self, name) for name in policy_fields},
                quiet_hours=QuietHours.parse(self.quiet_hours) if self.quiet_hours else None,
                categories=self.effective_categories,
            ),
            recipe=lay_over(
                Recipe(**{name: getattr(self, name) for name in recipe_fields}),
                {PRESET_FIELD: self.preset, **set_by_hand},
            ),
            probe_prompts=self.probe_prompts,
            gate=GatePolicy(**{name: getattr(self, f"gate_{name}") for name in gate_fields}),
        )
