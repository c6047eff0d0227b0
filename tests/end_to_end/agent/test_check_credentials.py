"""Matrix of faults, credentials: `check` names the file, what is wrong with it and the fix, and so does `run`."""

import datetime as dt
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme
from agents import Device, run
from check_faults import Bench, Row, bench_of, rows, said_by_check, said_by_run
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from tests.support.credentials import (
    cut,
    encrypted,
    new_pair,
    on_one_line,
    pair_on_edwards_curve,
    with_escaped_line_breaks,
    without_a_line,
)

from iot_jobs_simulator.server import RunningSimulator

NOBODY = 65534
DAY = dt.timedelta(days=1)
AGAIN = "; copy the whole file again"


@pytest.fixture
def bench(device: Device, sim: RunningSimulator, thing: str) -> Iterator[Bench]:
    with bench_of(device, sim) as made:
        yield made


def changed(key: str, change: Callable[[bytes], bytes]) -> Callable[[Bench], object]:
    """The file has other contents."""
    return lambda bench: bench.file(key).write_bytes(change(bench.file(key).read_bytes()))


def replaced(key: str, put: Callable[[Path], object]) -> Callable[[Bench], object]:
    """There is something else in place of the file."""

    def make(bench: Bench) -> None:
        bench.file(key).unlink()
        put(bench.file(key))

    return make


def closed(key: str, mode: int) -> Callable[[Bench], object]:
    """The file has another mode."""
    return lambda bench: bench.file(key).chmod(mode)


def pair(bench: Bench, certificate: bytes, private_key: bytes) -> None:
    bench.file("certificate").write_bytes(certificate)
    bench.file("private_key").write_bytes(private_key)


def swapped(bench: Bench) -> None:
    pair(bench, bench.file("private_key").read_bytes(), bench.file("certificate").read_bytes())


def on_edwards_curve(bench: Bench) -> None:
    made = pair_on_edwards_curve()
    pair(bench, made.certificate, made.private_key)


def valid(since: dt.timedelta, until: dt.timedelta) -> Callable[[Bench], object]:
    """The certificate is valid in another time than now."""

    def make(bench: Bench) -> None:
        now = dt.datetime.now(dt.UTC)
        issued = bench.authority.issue_cert("device.invalid", not_before=now + since, not_after=now + until)
        pair(bench, issued.cert_chain_pems[0].bytes(), issued.private_key_pem.bytes())
        bench.names |= {"since": f"{now + since:%Y-%m-%d}", "until": f"{now + until:%Y-%m-%d}"}

    return make


def authority_first(bench: Bench) -> None:
    certificate = bench.file("certificate")
    certificate.write_bytes(bench.file("root_ca").read_bytes() + certificate.read_bytes())


def as_der(pem: bytes) -> bytes:
    return x509.load_pem_x509_certificate(pem).public_bytes(Encoding.DER)


ROWS = [
    Row(
        "a file is missing",
        replaced("certificate", lambda _: None),
        "aws.certificate: {certificate} does not exist; put the PEM file there or correct the path.",
        78,
    ),
    Row(
        "a directory in place of a file",
        replaced("root_ca", Path.mkdir),
        "aws.root_ca: {root_ca} is not a regular file; name the PEM file itself.",
        78,
    ),
    Row(
        "a FIFO that nobody writes to",
        replaced("private_key", os.mkfifo),
        "aws.private_key: {private_key} is not a regular file; name the PEM file itself.",
        78,
    ),
    Row(
        "an empty file",
        changed("private_key", lambda _: b""),
        "aws.private_key: {private_key} holds no PEM private key; put the private key there as issued by AWS IoT",
        78,
    ),
    Row(
        "DER instead of PEM",
        changed("certificate", as_der),
        "aws.certificate: {certificate} holds no PEM certificate; put the certificate there as issued by AWS IoT",
        78,
    ),
    Row(
        "key and certificate swapped",
        swapped,
        "aws.certificate: {certificate} holds no PEM certificate; put the certificate there as issued by AWS IoT",
        78,
    ),
    Row(
        "a key that everybody may read",
        closed("private_key", 0o644),
        "aws.private_key: {private_key} is open to other users (mode 0644); run `chmod 600 {private_key}`.",
        78,
    ),
    Row(
        "an authority that everybody may replace",
        closed("root_ca", 0o666),
        "aws.root_ca: {root_ca} is writable by others (mode 0666); run `chmod go-w {root_ca}`.",
        78,
    ),
    Row(
        "the key of another certificate",
        changed("private_key", lambda _: new_pair(trustme.CA()).private_key),
        "aws.private_key: {private_key} is not the key of the certificate {certificate}; put the key and the",
    ),
    Row(
        "an encrypted key",
        changed("private_key", lambda key: encrypted(key, older_form=False)),
        "aws.private_key: {private_key} is encrypted with a passphrase, which nobody can enter here; write it without",
    ),
    Row(
        "an Ed25519 key",
        on_edwards_curve,
        "aws.private_key: {private_key} is an Ed25519 or Ed448 key, which AWS IoT does not take; use an RSA key of",
    ),
    Row(
        "a key that is cut off",
        changed("private_key", cut),
        "aws.private_key: {private_key} is cut off, because a line -----END ",
    ),
    Row(
        "a certificate that is cut off",
        changed("certificate", cut),
        "aws.certificate: {certificate} is cut off, because a line -----END CERTIFICATE----- is missing" + AGAIN,
    ),
    Row(
        "a root CA that is cut off",
        changed("root_ca", cut),
        "aws.root_ca: {root_ca} is cut off, because a line -----END CERTIFICATE----- is missing" + AGAIN,
    ),
    Row(
        "a line is missing",
        changed("certificate", without_a_line),
        "aws.certificate: {certificate} is damaged, because characters are missing or wrong" + AGAIN,
    ),
    Row(
        "line breaks written as text",
        changed("private_key", with_escaped_line_breaks),
        "aws.private_key: {private_key} has the two characters \\n where its lines should end; write real line breaks",
    ),
    Row(
        "a certificate that has expired",
        valid(-9 * DAY, -2 * DAY),
        "aws.certificate: {certificate} has expired on {until}; replace it and its key (docs/install.md says how)",
    ),
    Row(
        "a certificate that is not valid yet",
        valid(2 * DAY, 9 * DAY),
        "aws.certificate: {certificate} is not valid at the time of this device's clock, but from {since} on; let the",
    ),
    Row(
        "a root CA that is a device's certificate",
        lambda bench: bench.file("root_ca").write_bytes(bench.file("certificate").read_bytes()),
        "aws.root_ca: {root_ca} is not the authority of localhost port {port} (",
    ),
    Row(
        "the authority before the certificate",
        authority_first,
        "aws.certificate: {certificate} begins with another certificate than that of the key {private_key}; put the",
    ),
]


def test_the_matrix_has_the_credentials_that_were_promised() -> None:
    assert len({row.name for row in ROWS}) == len(ROWS) >= 13


@rows(ROWS)
async def test_field_f1_check_says_what_is_wrong_with_the_credentials(bench: Bench, row: Row) -> None:
    await said_by_check(bench, row)


@rows(ROWS, by_run=True)
async def test_field_f1_run_says_the_same_about_the_credentials(bench: Bench, row: Row, start_agent: Any) -> None:
    await said_by_run(bench, row, start_agent)


@pytest.mark.parametrize("key", ["certificate", "private_key", "root_ca"])
async def test_field_f1_pem_on_one_line_is_no_fault(bench: Bench, key: str) -> None:
    changed(key, on_one_line)(bench)
    checked = await run("check", "--config", bench.write_config())
    assert (checked.returncode, checked.stderr) == (0, ""), checked


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can judge as another user")
async def test_field_f1_a_key_that_only_root_can_read_is_no_key_for_the_agents_user(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    for key in [key for key in os.environ if key.startswith("COVERAGE_PROCESS")]:
        monkeypatch.delenv(key)  # measured, the command would complain that this user may not write the figures
    bench.device.state.mkdir(mode=0o700)
    os.chown(bench.device.state, NOBODY, NOBODY)
    checked = await run("check", "--config", bench.write_config())
    said = "aws.private_key: {private_key} cannot be read (permission denied); let the agent's user read it."
    assert (checked.returncode, checked.stderr) == (1, ""), checked
    assert f"wrong  {said.format(**bench.names)}\n" in checked.stdout
