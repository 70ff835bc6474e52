"""Every set-up that can be rendered is one that nginx takes."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
import trustme

from headgate.lab.servers.nginx import wheel_program
from tests.acceptance.product import free_port, run_cli
from tests.edges import program as installed
from tests.edges import settings

NODES = "127.0.0.1:8000"
EDGE = "HEADGATE_EDGE__"

VARIANTS: dict[str, dict[str, str]] = {
    "plain": {},
    "of one name": {f"{EDGE}SERVER_NAMES": "masks.example.org"},
    "of several names": {f"{EDGE}SERVER_NAMES": "masks.example.org,*.example.net"},
    "many nodes": {f"{EDGE}NODES": "10.0.0.1:8000,10.0.0.2:8000,[fd00::3]:8000,localhost:8000"},
    "a standby cluster": {f"{EDGE}BACKUP_NODES": "10.1.0.1:8000,10.1.0.2:8000"},
    "no limit": {"HEADGATE_LIMITS__PER_IP_PER_MINUTE": "0"},
    "a limit": {"HEADGATE_LIMITS__PER_IP_PER_MINUTE": "200"},
    "no proxy": {"HEADGATE_TRUSTED_PROXIES": ""},
    "several proxies": {"HEADGATE_TRUSTED_PROXIES": "10.0.0.0/8,fd00::/8,192.0.2.7"},
    "workers": {f"{EDGE}WORKERS": "3", f"{EDGE}CONNECTIONS": "512"},
    "IPv6": {f"{EDGE}LISTEN": "[::1]:{port}"},
    "TLS": {f"{EDGE}CERTIFICATE": "{cert}", f"{EDGE}CERTIFICATE_KEY": "{key}", f"{EDGE}LISTEN_TLS": "127.0.0.1:{tls}"},
    "TLS of one name": {
        f"{EDGE}CERTIFICATE": "{cert}", f"{EDGE}CERTIFICATE_KEY": "{key}", f"{EDGE}LISTEN_TLS": "127.0.0.1:{tls}",
        f"{EDGE}SERVER_NAMES": "masks.example.org",
    },
}  # fmt: skip


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    directory = tmp_path_factory.mktemp("tls")
    issued = trustme.CA().issue_cert("masks.example.org")
    issued.private_key_pem.write_to_path(str(directory / "key.pem"))
    issued.cert_chain_pems[0].write_to_path(str(directory / "cert.pem"))
    return {"cert": str(directory / "cert.pem"), "key": str(directory / "key.pem")}


@pytest.mark.parametrize("whose", ["the machine's", "the wheel's"])
@pytest.mark.parametrize("variant", VARIANTS)
def test_nginx_takes_it(tmp_path: Path, certificate: dict[str, str], variant: str, whose: str) -> None:
    """They are years apart."""
    program = installed() if whose == "the machine's" else wheel_program()
    assert program is not None, "the wheel is among what tests need"
    port, tls = free_port(), free_port()
    given = {k: v.format(port=port, tls=tls, **certificate) for k, v in VARIANTS[variant].items()}
    variables = settings(tmp_path, port, tmp_path / "public", NODES) | given
    run_cli("edge", "render", "--out", tmp_path / "etc", "--nginx", program, settings=variables).ok()
    tried = subprocess.run(
        [program, "-t", "-c", tmp_path / "etc/nginx/nginx.conf", "-e", tmp_path / "log/error.log"],
        capture_output=True, text=True, check=False, timeout=20, env={"PATH": os.environ["PATH"]},
    )  # fmt: skip
    assert tried.returncode == 0, tried.stderr
    warned = [line for line in tried.stderr.splitlines() if "[warn]" in line and '"user" directive' not in line]
    assert warned == []
