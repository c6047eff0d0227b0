"""What is kept out of the running agent's memory, and comes back when it is needed after all."""

import json
import subprocess
import sys
from pathlib import Path

from iot_jobs_agent.chance import below, fraction, random_hex

LEFT_OUT = """
import json, sys
from iot_jobs_agent import light
light.leave_out()
import asyncio, hashlib, shutil, uuid
loaded = [name for name in ("ssl", "_ssl", "_hashlib", "_uuid", "_bz2", "_lzma") if sys.modules.get(name)]
light.let_in()
print(json.dumps({"loaded": loaded, "hash": hashlib.sha256(b"x").hexdigest(), "version": uuid.uuid4().version}))
"""
TLS = """
import asyncio, ssl, sys
from pathlib import Path
async def echo(reader, writer):
    writer.write(await reader.readline())
    await writer.drain()
    writer.close()
async def talk():
    there = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    there.load_cert_chain(sys.argv[1])
    here = ssl.create_default_context(cafile=sys.argv[2])
    async with await asyncio.start_server(echo, "127.0.0.1", 0, ssl=there) as server:
        port = server.sockets[0].getsockname()[1]
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=here, server_hostname="localhost")
        writer.write(b"hello\\n")
        print((await reader.read()).decode(), end="")
        writer.close()
asyncio.run(talk())
"""


def ran(code: str, *arguments: str) -> str:
    """Run the code in a Python of its own, as nothing may be imported before."""
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True, env={}).stdout


def test_neither_openssl_nor_compressors_are_loaded_and_those_who_import_them_do_without() -> None:
    found = json.loads(ran(LEFT_OUT))
    assert found["loaded"] == []
    assert found["hash"] == "2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881"
    assert found["version"] == 4


def test_what_is_there_already_stays() -> None:
    code = "import ssl; from iot_jobs_agent import light; light.leave_out(); import ssl as again; print(ssl is again)"
    assert ran(code) == "True\n"


def test_asyncio_speaks_tls_once_it_has_been_given_it(tmp_path: Path) -> None:
    import trustme  # noqa: PLC0415 - only this test needs a certificate

    authority = trustme.CA()
    authority.issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(tmp_path / "server.pem")
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    without = "from iot_jobs_agent import light; light.leave_out(); import asyncio; light.let_in()\n"
    given = f"{without}light.give_ssl_to_asyncio(); light.give_ssl_to_asyncio()\n"
    files = str(tmp_path / "server.pem"), str(tmp_path / "ca.pem")
    assert ran(TLS, *files) == ran(given + TLS, *files) == "hello\n"


def test_what_is_drawn_by_chance_is_in_its_limits_and_differs() -> None:
    assert all(0 <= fraction() < 1 for _ in range(1000))
    assert len({fraction() for _ in range(1000)}) == 1000
    assert 0.4 < sum(fraction() for _ in range(1000)) / 1000 < 0.6
    assert {below(3) for _ in range(200)} == {0, 1, 2}
    assert (len(random_hex()), len(random_hex(4))) == (32, 8)
    assert random_hex() != random_hex()
