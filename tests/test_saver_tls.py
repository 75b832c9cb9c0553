"""TLS: both savers on `rediss://`, as a user of the server's, and what they say when the other side cannot be trusted.

The bundled server is built without TLS, so a TLS endpoint stands in front of it, as in many a cloud.
"""

from __future__ import annotations

import asyncio
import datetime
import ipaddress
import os
import ssl
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import redis
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from servers import checkpoint_of, config_of, put_values

from checkpointers import AsyncRedisSaver, RedisSaver, SaverDenied, SaverUnavailable


def certificate(directory: Path) -> tuple[Path, Path]:
    """Make a certificate of this machine that is signed by itself; return its file and that of its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    cert_file, key_file = directory / "cert.pem", directory / "key.pem"
    cert_file.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    form, none = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    key_file.write_bytes(key.private_bytes(serialization.Encoding.PEM, form, none))
    return cert_file, key_file


async def serve(port: int, context: ssl.SSLContext, started: Future[tuple[int, Any]]) -> None:
    """Take TLS connections and pass what is in them to a plain server, until the event is set."""

    async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(1 << 16):
                writer.write(data)
                await writer.drain()
        except OSError:
            pass
        finally:
            writer.close()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        of_server, to_server = await asyncio.open_connection("127.0.0.1", port)
        await asyncio.gather(copy(reader, to_server), copy(of_server, writer))

    over, loop = asyncio.Event(), asyncio.get_running_loop()
    server = await asyncio.start_server(accept, "127.0.0.1", 0, ssl=context)
    started.set_result((server.sockets[0].getsockname()[1], lambda: loop.call_soon_threadsafe(over.set)))
    await over.wait()
    server.close()


@pytest.fixture(scope="module")
def endpoint(valkey_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[int, Path]]:
    """The port of a TLS endpoint of a server with the user `ida`, and its certificate."""
    cert_file, key_file = certificate(tmp_path_factory.mktemp("tls"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert_file, key_file)
    with redis.Redis.from_url(valkey_url) as client:
        client.acl_setuser("ida", enabled=True, passwords=["+s@fe"], keys=["surefoot:*"], commands=["+@all"])
        started: Future[tuple[int, Any]] = Future()
        plain = client.connection_pool.connection_kwargs["port"]
        thread = threading.Thread(target=lambda: asyncio.run(serve(plain, context, started)), daemon=True)
        thread.start()
        port, end = started.result(timeout=30)
        yield port, cert_file
        end()
        thread.join(timeout=30)
        client.acl_deluser("ida")


@pytest.fixture
def url(endpoint: tuple[int, Path]) -> str:
    port, cert_file = endpoint
    return f"rediss://ida:s%40fe@localhost:{port}/0?ssl_ca_certs={cert_file}"


def test_the_sync_saver_speaks_tls_as_a_user_of_the_server(url: str) -> None:
    thread = str(uuid4())
    with RedisSaver.from_url(url, registry=True) as saver:
        config = put_values(saver, config_of(thread), a="over tls")
        saver.put_writes(config, [("a", 1)], "task")
        found = saver.get_tuple(config_of(thread))
        saver.delete_thread(thread)
    assert found is not None
    assert found.checkpoint["channel_values"] == {"a": "over tls"}
    assert found.pending_writes == [("task", "a", 1)]


async def test_the_async_saver_speaks_tls_as_a_user_of_the_server(url: str) -> None:
    mark = uuid4().hex
    async with AsyncRedisSaver.from_url(url, registry=True) as saver:

        async def one(number: int) -> Any:
            # One of them is larger than what goes into a record of TLS, or into a socket at once.
            value, version = os.urandom(3_000_000 if number == 7 else 10), saver.get_next_version(None, None)
            checkpoint = checkpoint_of({"a": value}, {"a": version})
            config = config_of(f"{mark} {number}")
            await saver.aput(config, checkpoint, {"source": "loop", "step": 0, "parents": {}}, {"a": version})
            found = await saver.aget_tuple(config)
            await saver.adelete_thread(f"{mark} {number}")
            return found is not None and found.checkpoint["channel_values"]["a"] == value

        assert all(await asyncio.gather(*map(one, range(50))))


async def test_a_certificate_of_nobody_known_and_a_wrong_password_are_told(url: str) -> None:
    for wrong, kind, told in (
        (url.partition("?")[0], SaverUnavailable, "a certificate that is not trusted .self-signed certificate"),
        (url.replace("s%40fe", "other"), SaverDenied, "refuses the user or password"),
    ):
        with pytest.raises(kind, match=told), RedisSaver.from_url(wrong) as saver:
            saver.get_tuple(config_of("t"))
        async with AsyncRedisSaver.from_url(wrong) as other:
            with pytest.raises(kind, match=told):
                await other.aget_tuple(config_of("t"))
