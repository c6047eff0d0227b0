"""The device's credentials, examined with the real SDK; and what the SDK offers to a server."""

import asyncio
import contextlib
import os
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trustme
from tests.support.credentials import (
    NAMES,
    Pair,
    cut,
    encrypted,
    new_pair,
    on_one_line,
    pair_on_edwards_curve,
    with_escaped_line_breaks,
    without_a_line,
    write_credentials,
)

from iot_jobs_agent.aws.https import list_over_https
from iot_jobs_agent.aws.mqtt import MqttConnection
from iot_jobs_agent.aws.sdk import SdkError, new_bootstrap
from iot_jobs_agent.aws.tls import ALPN_MQTT, TlsContexts, credentials_problem, python_context, read_credentials
from iot_jobs_agent.config.values import Aws
from iot_jobs_agent.errors import RequestUnanswered

AUTHORITY = trustme.CA()
ROOT_CA = AUTHORITY.cert_pem.bytes()
PAIR = new_pair(AUTHORITY)
OTHER = new_pair(AUTHORITY)


def contents(key: str) -> bytes:
    return {"certificate": PAIR.certificate, "private_key": PAIR.private_key, "root_ca": ROOT_CA}[key]


def test_credentials_that_can_be_used_have_no_problem(tmp_path: Path) -> None:
    assert credentials_problem(write_credentials(tmp_path, PAIR, ROOT_CA)) == ""


def test_field_f1_a_key_of_another_certificate_is_told_as_that(tmp_path: Path) -> None:
    aws = write_credentials(tmp_path, Pair(PAIR.certificate, OTHER.private_key), ROOT_CA)
    problem = credentials_problem(aws)
    assert problem.startswith(f"aws.private_key: {aws.private_key} is not the key of the certificate {aws.certificate}")
    assert "issued together" in problem


@pytest.mark.parametrize("older_form", [False, True])
def test_field_f1_an_encrypted_key_is_told_as_that(tmp_path: Path, *, older_form: bool) -> None:
    aws = write_credentials(
        tmp_path, Pair(PAIR.certificate, encrypted(PAIR.private_key, older_form=older_form)), ROOT_CA
    )
    problem = credentials_problem(aws)
    assert problem.startswith(f"aws.private_key: {aws.private_key} is encrypted with a passphrase")
    assert "openssl pkey" in problem


def test_field_f1_an_ed25519_key_is_told_as_that(tmp_path: Path) -> None:
    aws = write_credentials(tmp_path, pair_on_edwards_curve(), ROOT_CA)
    assert credentials_problem(aws).startswith(f"aws.private_key: {aws.private_key} is an Ed25519 or Ed448 key")


@pytest.mark.parametrize("key", sorted(NAMES))
@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (cut, "is cut off"),
        (without_a_line, "is damaged"),
        (with_escaped_line_breaks, r"has the two characters \n"),
        (lambda _: b"", "holds no PEM"),
    ],
)
def test_field_f1_a_file_that_is_not_whole_is_named(
    tmp_path: Path, key: str, spoil: Callable[[bytes], bytes], said: str
) -> None:
    aws = write_credentials(tmp_path, PAIR, ROOT_CA)
    path = tmp_path / NAMES[key]
    path.write_bytes(spoil(contents(key)))
    problem = credentials_problem(aws)
    assert problem.startswith(f"aws.{key}: {path} {said}")
    assert "; " in problem, "a fix follows the fault"
    assert "\n" not in problem


@pytest.mark.parametrize("key", sorted(NAMES))
def test_field_f1_a_pem_on_one_line_is_taken_by_the_sdk_and_by_python(tmp_path: Path, key: str) -> None:
    aws = write_credentials(tmp_path, PAIR, ROOT_CA)
    (tmp_path / NAMES[key]).write_bytes(on_one_line(contents(key)))
    assert credentials_problem(aws) == ""
    assert python_context(read_credentials(aws)).minimum_version is ssl.TLSVersion.TLSv1_2


@pytest.mark.parametrize("key", sorted(NAMES))
def test_field_f1_a_file_that_went_away_is_named(tmp_path: Path, key: str) -> None:
    aws = write_credentials(tmp_path, PAIR, ROOT_CA)
    (tmp_path / NAMES[key]).unlink()
    assert credentials_problem(aws).startswith(f"aws.{key}: {tmp_path / NAMES[key]} does not exist")


def test_field_f1_a_fifo_in_the_place_of_a_file_holds_nobody_up(tmp_path: Path) -> None:
    aws = write_credentials(tmp_path, PAIR, ROOT_CA)
    (tmp_path / NAMES["root_ca"]).unlink()
    os.mkfifo(tmp_path / NAMES["root_ca"])
    assert credentials_problem(aws).startswith(f"aws.root_ca: {tmp_path / NAMES['root_ca']} is not a regular file; ")


def test_field_f2_a_half_replaced_pair_is_not_used_and_is_told_once(tmp_path: Path) -> None:
    told: list[str] = []
    aws = write_credentials(tmp_path, PAIR, ROOT_CA)
    contexts = TlsContexts(aws, lambda event, **facts: told.append(f"{event}: {facts['why']}"))
    contexts.make(aws.port, ALPN_MQTT)
    (tmp_path / NAMES["private_key"]).write_bytes(OTHER.private_key)
    for _ in range(3):
        contexts.make(aws.port, ALPN_MQTT)
    assert contexts._usable == (PAIR.certificate, PAIR.private_key, ROOT_CA)
    [line] = told
    assert "is not the key of the certificate" in line
    (tmp_path / NAMES["certificate"]).write_bytes(OTHER.certificate)
    contexts.make(aws.port, ALPN_MQTT)
    assert contexts._usable == (OTHER.certificate, OTHER.private_key, ROOT_CA)
    assert len(told) == 1


def test_field_f2_without_a_pair_that_was_ever_whole_the_error_names_the_file(tmp_path: Path) -> None:
    aws = write_credentials(tmp_path, Pair(PAIR.certificate, OTHER.private_key), ROOT_CA)
    with pytest.raises(SdkError, match=r"aws\.private_key: .* is not the key") as caught:
        TlsContexts(aws).make(aws.port, ALPN_MQTT)
    assert caught.value.name == "CredentialsError"


def offered_versions(hello: bytes) -> set[int]:
    """The versions in a ClientHello: extension supported_versions, or else its own (RFC 8446 4.1.2, 4.2.1)."""
    at = 5 + 4 + 2 + 32  # record, handshake header, version, random
    at += 1 + hello[at]
    at += 2 + int.from_bytes(hello[at : at + 2], "big")
    at += 1 + hello[at]
    end = at + 2 + int.from_bytes(hello[at : at + 2], "big")
    at += 2
    while at < end:
        kind, size = int.from_bytes(hello[at : at + 2], "big"), int.from_bytes(hello[at + 2 : at + 4], "big")
        if kind == 43:
            listed = hello[at + 5 : at + 4 + size]
            return {int.from_bytes(listed[i : i + 2], "big") for i in range(0, len(listed), 2)}
        at += 4 + size
    return {int.from_bytes(hello[9:11], "big")}


async def mqtt_hello(aws: Aws) -> None:
    with contextlib.suppress(SdkError):
        await MqttConnection(aws, new_bootstrap(), TlsContexts(aws), lambda *_: None).open(5)


async def https_hello(aws: Aws) -> None:
    with contextlib.suppress(RequestUnanswered):
        await list_over_https(aws, "")


@pytest.mark.parametrize("say_hello", [mqtt_hello, https_hello])
async def test_field_f6_nothing_older_than_tls_1_2_is_offered(tmp_path: Path, say_hello: Callable[[Aws], Any]) -> None:
    heard: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        header = await reader.readexactly(5)
        heard.set_result(header + await reader.readexactly(int.from_bytes(header[3:], "big")))
        writer.close()

    async with await asyncio.start_server(listen, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        aws = write_credentials(tmp_path, PAIR, ROOT_CA, port=port, https_port=port, endpoint="127.0.0.1")
        await say_hello(aws)
    assert offered_versions(await heard) == {0x0303, 0x0304}
