"""Every setting of the daemon: name, default, range, meaning; long, so that all are seen.

Those of sleep, training and gate are declared in the domain, once, and stand here and in requests
by what is declared there: `SleepPolicy`, `Recipe` and, with `gate_` before each name, `GatePolicy`.

Read from the environment (prefix `SAGE_`) or from the TOML file that `SAGE_CONFIG_FILE` names; the
environment wins. There is no global instance: the composition root reads it once and passes on
what each part needs.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import fields
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import platformdirs
from pydantic import (
    BeforeValidator,
    Field,
    FiniteFloat,
    SecretStr,
    StringConstraints,
    field_validator,
    model_validator,
)
from pydantic_settings import (
    BaseSettings,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from app.domain.categories import check_floors
from app.domain.declared import fields_of, with_fields
from app.domain.gate import GatePolicy
from app.domain.instance import EMBEDDED_MODEL_NAME, SAGE_SYSTEM_PROMPT, InstanceDefaults, ZoneName
from app.domain.mirror import NO_REMOTE, is_remote
from app.domain.model_names import HUB_ID, MAX_NAME_CHARACTERS, MAX_NAMES, ModelTable
from app.domain.nearest import did_you_mean, nearest
from app.domain.policy import SleepPolicy, check_reach, lay_over_policy
from app.domain.presets import PRESET_FIELD, Preset, PresetName, lay_over
from app.domain.recipe import Recipe
from app.errors import InvalidPolicy

PREFIX = "SAGE_"
CONFIG_FILE_VARIABLE = "SAGE_CONFIG_FILE"
CLIENT_VARIABLES = ("SAGE_URL", "SAGE_TOKEN", "SAGE_CA_FILE", "SAGE_INSTANCE")
"""What the commands that ask a daemon and the client read, and the daemon itself does not."""

GATE_PREFIX = "gate_"
RUNTIME_OFF = "off"
DAY_SECONDS = 24 * 3600

REMOTE_REQUESTS_PER_MINUTE = 6000
"""A guess: a hundred times what one live session asks, and a tenth of what the daemon does."""


def _split(value: object) -> object:
    if not isinstance(value, str):
        return value
    return [name.strip() for name in value.split(",") if name.strip()]


Names = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split)]
"""In the environment, names with commas between."""

ModelName = Annotated[str, StringConstraints(min_length=1, max_length=MAX_NAME_CHARACTERS)]
"""What a runtime calls a model."""

_HOST_NAME = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_.-]{0,253}[A-Za-z0-9_.])?", re.ASCII)


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def _recipe_fields() -> dict[str, Any]:
    """The fields of a recipe; modules are read as `Names`."""
    found = fields_of(Recipe)
    annotation, field = found["target_modules"]
    found["target_modules"] = (Annotated[annotation, NoDecode, BeforeValidator(_split)], field)
    return found


@with_fields(
    {**fields_of(SleepPolicy), **_recipe_fields(), **fields_of(GatePolicy, prefix=GATE_PREFIX)}
)
class Settings(BaseSettings):
    """Frozen settings; an unknown name in the file is an error."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="forbid")

    data_dir: Path = Field(
        default_factory=lambda: platformdirs.user_data_path("sage-sleep"),
        description="Where database, checkpoints and the embedded model are kept.",
    )
    database_url: str | None = Field(
        default=None,
        description="Default: sage-sleep.db in the data directory. Or "
        "postgresql+psycopg://USER@HOST/NAME (extra `postgres`; new, for one daemon): its server "
        "backs it up.",
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
    webhook_networks: Names = Field(
        default=(),
        description="Networks beside the public ones that webhooks may go to: 192.168.0.0/16.",
    )
    requests_per_minute: Annotated[int, Field(ge=0, le=10**9)] | None = Field(
        default=None,
        description="Per token, or address without one; 0: any; default: 6000, any on loopback.",
    )
    max_connections: Annotated[
        int, Field(ge=1, le=1_000_000, description="At once; one more is answered 503.")
    ] = 512
    header_timeout_seconds: Annotated[
        FiniteFloat,
        Field(ge=0.1, le=DAY_SECONDS, description="For a request's head, from its first byte."),
    ] = 10.0
    body_timeout_seconds: Annotated[
        FiniteFloat, Field(ge=0.1, le=DAY_SECONDS, description="For a request's body.")
    ] = 60.0
    stalled_timeout_seconds: Annotated[
        FiniteFloat,
        Field(ge=0.1, le=DAY_SECONDS, description="For a client that reads nothing of its answer."),
    ] = 60.0
    base_model: str | None = Field(
        default=None,
        description="Hub id or directory of the base model; default: the embedded model.",
    )
    model_table: Annotated[
        dict[ModelName, str],
        Field(
            max_length=MAX_NAMES,
            description="Bases of models by what runtimes call them: hub ids, or directories.",
        ),
    ] = {}
    ollama_url: str = Field(
        default="http://127.0.0.1:11434",
        description="Ollama to ask what a model is whose name no table knows; off: none is asked.",
    )
    vllm_url: str = Field(
        default=RUNTIME_OFF,
        description="vLLM that what is live is brought into: http://127.0.0.1:8000, or off.",
    )
    vllm_dir: Path | None = Field(
        default=None,
        description="Where vLLM reads adapters from; none: vllm in the data directory.",
    )
    mirror: str | None = Field(
        default=None,
        description="Where checkpoints are shared: name:path of an rclone remote; none: nowhere.",
    )
    teacher_url: str | None = Field(
        default=None,
        description="OpenAI-compatible address of a larger model that writes questions about what "
        "people told, for cycles that dream: http://127.0.0.1:11434/v1; none: none is asked.",
    )
    teacher_model: str | None = Field(
        default=None, description="What the teacher's server calls its model."
    )
    teacher_key: SecretStr | None = Field(
        default=None, description="Sent to the teacher as a bearer token; none: nothing is."
    )
    system_prompt: str = Field(
        default=SAGE_SYSTEM_PROMPT, description="Identity prompt an instance starts with."
    )
    tensorboard_dir: Path | None = Field(
        default=None,
        description="Where each cycle leaves its curves for TensorBoard; none: nowhere.",
    )
    timezone: ZoneName = Field(default="UTC", description="IANA zone of the quiet hours.")
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="What is less is not written."
    )
    log_format: Literal["auto", "pretty", "json"] = Field(
        default="auto", description="auto: pretty on a terminal, else json."
    )

    preset: PresetName = Preset.STANDARD
    probe_prompts: tuple[str, ...] = Field(
        default=("Who are you?",), description="Answered before and after each cycle."
    )

    scheduler_interval_seconds: Annotated[
        FiniteFloat,
        Field(ge=0.01, le=DAY_SECONDS, description="Between looks at who should sleep."),
    ] = 30.0
    upkeep_interval_seconds: Annotated[
        FiniteFloat,
        Field(
            ge=1,
            le=366 * DAY_SECONDS,
            description="Between looks at files and at what may go by policy.",
        ),
    ] = DAY_SECONDS
    max_body_bytes: Annotated[
        int, Field(ge=1024, le=1 << 40, description="Of one request's body; more is refused.")
    ] = 8 * 1024 * 1024
    max_held_bytes: Annotated[
        int,
        Field(ge=1024, le=1 << 40, description="Of bodies whose requests are not answered yet."),
    ] = 64 * 1024 * 1024
    max_queued_exchanges: Annotated[
        int, Field(ge=1, le=10**6, description="Single posts that wait to be written.")
    ] = 4096
    max_export_bytes: Annotated[
        int,
        Field(
            ge=0,
            le=1 << 50,
            description="Of files made for other runtimes that are kept; the least used go first.",
        ),
    ] = 8 * 1024**3
    chat_idle_seconds: Annotated[
        FiniteFloat,
        Field(
            ge=1, le=30 * DAY_SECONDS, description="Until a model that nobody talks to is unloaded."
        ),
    ] = 300.0
    chat_context_tokens: Annotated[
        int,
        Field(ge=256, le=1 << 20, description="Of a conversation by chat, with its reply."),
    ] = 4096
    stop_grace_seconds: Annotated[
        FiniteFloat,
        Field(ge=0, le=3600, description="For a training process to stop; then it is killed."),
    ] = 8.0
    child_niceness: Annotated[
        int, Field(ge=0, le=19, description="How far a training process lets all else go first.")
    ] = 10
    stall_seconds: Annotated[
        FiniteFloat,
        Field(
            ge=5,
            le=30 * DAY_SECONDS,
            description="A training process silent for so long is killed.",
        ),
    ] = 1800.0
    """A guess: a step of the embedded model takes seconds on 2 busy cores; one of 256 long
    exchanges on a slow machine may take many minutes."""
    snapshot_interval_seconds: Annotated[
        FiniteFloat,
        Field(
            ge=0,
            le=30 * DAY_SECONDS,
            description="Training time that a killed cycle repeats at most.",
        ),
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

    @model_validator(mode="before")
    @classmethod
    def _refuse_misspelt(cls, values: Any) -> Any:
        """A setting that is not read is one that somebody believes in."""
        faults = [
            f"{name} is no setting; {did_you_mean(meant)}"
            for name, meant in unknown_variables(os.environ).items()
            if meant
        ]
        if faults:
            raise ValueError("\n  ".join(faults))
        return values

    @field_validator(
        "data_dir", "database_url", "host", "base_model", "tls_certificate", "tls_key",
        "tensorboard_dir", "ollama_url", "vllm_url", "vllm_dir", "teacher_url", "teacher_model",
        "teacher_key", mode="before",
    )  # fmt: skip
    @classmethod
    def _refuse_blank(cls, value: Any) -> Any:
        """An empty path is the directory that somebody stands in, an empty host every address."""
        if isinstance(value, str) and not value.strip():
            raise ValueError("is empty; unset it for the default")
        return value

    @field_validator("model_table")
    @classmethod
    def _check_models(cls, value: dict[str, str]) -> dict[str, str]:
        bases = {}
        for name, base in value.items():
            directory = Path(base).expanduser()
            if HUB_ID.fullmatch(base) is None and not directory.is_absolute():
                raise ValueError(
                    f"{base!r}, the base of {name}, is no hub id (owner/name) and no absolute path"
                )
            bases[name] = base if HUB_ID.fullmatch(base) else str(directory)
        return bases

    @field_validator("ollama_url", "vllm_url")
    @classmethod
    def _check_runtime(cls, value: str) -> str:
        if value != RUNTIME_OFF and not re.fullmatch(r"https?://[^/\s]+/?", value):
            raise ValueError(
                f"{value!r} is no address; write one as http://127.0.0.1:11434, or {RUNTIME_OFF}"
            )
        return value.rstrip("/")

    @field_validator("teacher_url")
    @classmethod
    def _check_teacher(cls, value: str | None) -> str | None:
        if value is not None and not re.fullmatch(r"https?://[^/\s@]+(/[^\s?#]*)?", value):
            # Without the value, which may hold a secret.
            raise ValueError("is no address; write one as http://127.0.0.1:11434/v1")
        return value.rstrip("/") if value else None

    @field_validator("mirror")
    @classmethod
    def _check_mirror(cls, value: str | None) -> str | None:
        if value is not None and value.strip() and not is_remote(value):
            raise ValueError(NO_REMOTE)  # without the value, which may hold a secret
        return value if value and value.strip() else None

    @field_validator("host")
    @classmethod
    def _check_host(cls, value: str) -> str:
        if not _is_address(value) and _HOST_NAME.fullmatch(value) is None:
            raise ValueError(
                f"{value!r} is no address; write one such as 127.0.0.1, ::1 or a name, without "
                "scheme, brackets and port"
            )
        return value

    @field_validator("database_url")
    @classmethod
    def _check_database_url(cls, value: str | None) -> str | None:
        if value is not None and value.startswith("sqlite"):
            file = value.partition(":///")[2].partition("?")[0]
            if not file or file == ":memory:":
                raise ValueError(
                    "names no file, and daemon, training and commands share one: write "
                    "sqlite:////var/lib/sage-sleep/sage-sleep.db"
                )
        return value

    @field_validator("allowed_hosts")
    @classmethod
    def _check_hosts(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for name in value:
            if not _is_address(name) and _HOST_NAME.fullmatch(name) is None:
                raise ValueError(
                    f"{name!r} is no name of a host; write one as sage.example, without scheme "
                    "and port"
                )
        return value

    @field_validator("trusted_proxies", "webhook_networks")
    @classmethod
    def _check_proxies(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for name in value:
            try:
                ip_network(name, strict=False)
            except ValueError as error:
                raise ValueError(
                    f"{name!r} is no address; write one as 127.0.0.1 or 10.0.0.0/8"
                ) from error
        return value

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
    def _check_together(self) -> Self:
        try:
            policy = self.instance_defaults().policy
            check_floors(policy.category_floors, policy.categories)
            check_reach(self._set_of(SleepPolicy))
        except InvalidPolicy as error:
            raise ValueError(error.message) from error
        if self.max_body_bytes > self.max_held_bytes:
            raise ValueError(
                f"SAGE_MAX_HELD_BYTES is {self.max_held_bytes} and SAGE_MAX_BODY_BYTES "
                f"{self.max_body_bytes}: no body of that size is ever held. Raise the one, or "
                "lower the other."
            )
        if (self.teacher_url is None) != (self.teacher_model is None):
            raise ValueError("SAGE_TEACHER_URL and SAGE_TEACHER_MODEL go together; set both")
        gate = self._set_of(GatePolicy, prefix=GATE_PREFIX)
        if "broken_kl" in gate and gate["broken_kl"] < gate.get("general_kl", 0.0):
            raise ValueError(
                f"SAGE_GATE_BROKEN_KL is {gate['broken_kl']} and SAGE_GATE_GENERAL_KL "
                f"{gate['general_kl']}: what may pass counts as broken. Raise the one, or lower "
                "the other."
            )
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
    def demands_tokens(self) -> bool | None:
        """Whether tokens are demanded; None for as soon as one was made."""
        return self.require_tokens if self.is_loopback else True

    @property
    def effective_database_url(self) -> str:
        """The database URL with its default filled in."""
        return self.database_url or f"sqlite:///{self.data_dir / 'sage-sleep.db'}"

    @property
    def shown_database_url(self) -> str:
        """The same as it may be read by others: without its password."""
        shown = re.sub(r"(?<=://)([^:/@]*):[^@]*@", r"\1:***@", self.effective_database_url)
        return re.sub(r"(?<=password=)[^&]*", "***", shown)

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

    @property
    def effective_ollama_url(self) -> str | None:
        """Where Ollama is asked; None where it is not."""
        return None if self.ollama_url == RUNTIME_OFF else self.ollama_url

    @property
    def effective_vllm_url(self) -> str | None:
        """Where vLLM listens; None where there is none."""
        return None if self.vllm_url == RUNTIME_OFF else self.vllm_url

    @property
    def effective_vllm_dir(self) -> Path:
        """Where vLLM reads adapters from."""
        return self.vllm_dir or self.data_dir / "vllm"

    def instance_defaults(self) -> InstanceDefaults:
        """What an instance has as long as it does not override it. Raises: InvalidPolicy."""
        recipe = {PRESET_FIELD: self.preset, **self._set_of(Recipe)}
        return InstanceDefaults(
            base_model=self.effective_base_model,
            system_prompt=self.system_prompt,
            timezone=self.timezone,
            policy=lay_over_policy(SleepPolicy(), self._set_of(SleepPolicy)),
            recipe=lay_over(Recipe(), recipe),
            probe_prompts=self.probe_prompts,
            gate=GatePolicy(**self._set_of(GatePolicy, prefix=GATE_PREFIX)),
            models=ModelTable(own=tuple(sorted(self.model_table.items()))),
        )

    def _set_of(self, declared: type, *, prefix: str = "") -> dict[str, Any]:
        """The fields of a declared value that somebody set."""
        return {
            field.name: getattr(self, prefix + field.name)
            for field in fields(declared)
            if prefix + field.name in self.model_fields_set
        }


def setting_names() -> list[str]:
    """Every setting as the environment names it."""
    return [PREFIX + name.upper() for name in Settings.model_fields]


def unknown_variables(environment: Mapping[str, str]) -> dict[str, tuple[str, ...]]:
    """Variables with our prefix that nothing of ours reads, each with the settings it is near to.

    Those that are near to none may be another program's.
    """
    known = {*setting_names(), CONFIG_FILE_VARIABLE, *CLIENT_VARIABLES}
    names = {name for name in environment if name.upper().startswith(PREFIX)}
    bare = [name.removeprefix(PREFIX) for name in known]
    found: dict[str, tuple[str, ...]] = {}
    for name in sorted(names):
        if name.upper() not in known:
            # Without `SLEEP_`, since the program is called SAGE Sleep.
            meant = nearest(name.upper().removeprefix(PREFIX).removeprefix("SLEEP_"), bare)
            found[name] = tuple(PREFIX + other for other in meant)
    return found
