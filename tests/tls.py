"""A daemon that speaks TLS, with a certificate of an authority that nobody else knows."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import trustme

from tests.support import RunningDaemon, StartDaemon


@dataclass(frozen=True)
class Authority:
    """A private CA: its PEM file, and a certificate and key that it issued."""

    ca_file: Path
    certificate: Path
    key: Path

    @property
    def context(self) -> ssl.SSLContext:
        """Trusts it alone."""
        return ssl.create_default_context(cafile=self.ca_file)

    @property
    def settings(self) -> dict[str, Any]:
        """What makes a daemon serve its certificate."""
        return {"tls_certificate": self.certificate, "tls_key": self.key}


def make_authority(directory: Path, *names: str) -> Authority:
    """Make one whose certificate is for some names."""
    directory.mkdir()
    found = Authority(directory / "ca.pem", directory / "server.pem", directory / "server.key")
    ca = trustme.CA()
    ca.cert_pem.write_to_path(found.ca_file)
    issued = ca.issue_cert(*names)
    issued.private_key_pem.write_to_path(found.key)
    for number, blob in enumerate(issued.cert_chain_pems):
        blob.write_to_path(found.certificate, append=number > 0)
    return found


def start_with_tls(
    start_daemon: StartDaemon, authority: Authority, **settings: Any
) -> RunningDaemon:
    """Start a daemon with the authority's certificate."""
    return start_daemon(tls=authority.context, **authority.settings, **settings)
