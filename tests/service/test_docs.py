"""What docs/serving.md gives to nginx, systemd and Docker does what it says, as far as a machine has these."""

from __future__ import annotations

import json
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click
import httpx
import pytest
from served import command, picture

from tlaam.cli.main import tlaam

PAGE = (Path(__file__).parents[2] / "docs" / "serving.md").read_text(encoding="utf-8")


def block(language: str) -> str:
    (found,) = re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)
    return str(found)


def program(name: str) -> str:
    found = shutil.which(name) or shutil.which(name, path="/usr/sbin:/sbin")
    if found is None:
        pytest.skip(f"no {name} on this machine")
    return found


def understood(words: list[str]) -> None:
    """Fail where tlaam would not take a command line; whether its files are there does not matter."""
    assert Path(words[0]).name == "tlaam"
    verb = tlaam.get_command(click.Context(tlaam), words[1])
    assert verb is not None
    verb.make_context(words[1], words[2:])


def free_port() -> int:
    with socket.socket() as asked:
        asked.bind(("127.0.0.1", 0))
        return int(asked.getsockname()[1])


@contextmanager
def proxied(configuration: str, folder: Path) -> Iterator[None]:
    nginx = program("nginx")
    whole = f"""daemon off; pid {folder}/pid; error_log {folder}/errors;
events {{}}
http {{ access_log off; client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxied;
fastcgi_temp_path {folder}/a; uwsgi_temp_path {folder}/b; scgi_temp_path {folder}/c;
{configuration}
}}"""
    (folder / "nginx.conf").write_text(whole)
    process = subprocess.Popen([nginx, "-p", str(folder), "-c", str(folder / "nginx.conf")], stderr=subprocess.PIPE)
    try:
        yield
    finally:
        process.terminate()
        process.wait(10)


def test_nginx_stands_before_it(colours: Path, tmp_path: Path) -> None:
    openssl = program("openssl")
    names = [tmp_path / "birds.key", tmp_path / "birds.pem"]
    request = ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=birds.example"]
    subprocess.run(
        [openssl, *request, "-keyout", str(names[0]), "-out", str(names[1])], check=True, capture_output=True
    )
    with command("serve", colours) as (_, address):
        outside = free_port()
        changed = {
            "listen 443": f"listen 127.0.0.1:{outside}",
            "http://127.0.0.1:8000": address,
            "/etc/ssl/": f"{tmp_path}/",
        }
        configuration = block("nginx")
        for old, new in changed.items():
            assert old in configuration
            configuration = configuration.replace(old, new)
        with proxied(configuration, tmp_path):
            for attempt in range(50):
                try:
                    answer = httpx.post(
                        f"https://127.0.0.1:{outside}/v1/predict", content=picture("green"), verify=False,
                        headers={"Host": "birds.example"}, trust_env=False,
                    )  # fmt: skip
                    break
                except httpx.ConnectError:
                    assert attempt < 49, (tmp_path / "errors").read_text()
                    time.sleep(0.1)
    assert answer.status_code == 200, answer.text
    assert answer.json()["results"][0]["predictions"][0]["label"] == "green"


def test_systemd_takes_the_unit(tmp_path: Path) -> None:
    unit = block("ini")
    (started,) = re.findall(r"^ExecStart=(.+)$", unit, re.MULTILINE)
    understood(started.split())
    analyze = program("systemd-analyze")
    (tmp_path / "birds.service").write_text(unit.replace(started.split()[0], sys.executable))
    done = subprocess.run([analyze, "verify", str(tmp_path / "birds.service")], capture_output=True, text=True)
    assert done.returncode == 0 and "birds.service" not in done.stderr, done.stderr
    (tmp_path / "birds.service").write_text(unit.replace("MemoryMax", "MemoryMost"))
    done = subprocess.run([analyze, "verify", str(tmp_path / "birds.service")], capture_output=True, text=True)
    assert "MemoryMost" in done.stderr  # or it would take anything


def test_the_container_begins_what_there_is() -> None:
    lines = dict(line.split(" ", 1) for line in block("dockerfile").splitlines())
    words = json.loads(lines["CMD"])
    understood(words)
    assert words[words.index("--host") + 1] == "0.0.0.0"
    (extra,) = re.findall(r"\[(\w+)\]", lines["RUN"])
    project = (Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8")
    assert re.search(rf"^{extra} = \[", project, re.MULTILINE)
    left_out = (Path(__file__).parents[2] / ".dockerignore").read_text(encoding="utf-8").split()
    assert ".venv*" in left_out and "src" not in left_out  # gigabytes, which COPY would take along
    assert lines["USER"] != "root" and lines["FROM"].startswith("python:3.")
