"""``mmretrieval serve`` as a person starts and ends it: a real server on a real port."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from contextlib import suppress
from pathlib import Path

import pytest
import tiny
from clips import write_world

from mmretrieval.collection import Collection

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """The folder of a collection and of the model that made it."""
    folder = tmp_path_factory.mktemp("serve")
    model = tiny.model()
    model.save_pretrained(folder / "model")
    videos = write_world(folder / "world", clips=4) / "videos"
    Collection.build(folder / "made", [videos], model.eval(), folder / "model", progress=False)
    return folder


class Server:
    """The command in a process of its own."""

    def __init__(self, folder: Path, *options: str, temporary: Path):
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "TMPDIR": str(temporary)}
        command = [sys.executable, "-m", "mmretrieval", "serve", str(folder / "made"), "--port", "0", *options]
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
        )
        self.line = self.process.stdout.readline()
        found = re.search(r"http://\S+", self.line)
        assert found, self.line + (self.process.stderr.read() if self.process.poll() is not None else "")
        self.address = found.group()

    def get(self, path: str, address: str | None = None, **headers: str):
        request = urllib.request.Request((address or self.address.partition("?")[0]) + path, headers=headers)
        return urllib.request.urlopen(request, timeout=60)

    def end(self, number: int) -> tuple[int, str]:
        self.process.send_signal(number)
        _, said = self.process.communicate(timeout=60)
        return self.process.returncode, said


@pytest.fixture
def serve(world, tmp_path):
    started = []

    def start(*options):
        started.append(Server(world, *options, temporary=tmp_path))
        return started[-1]

    yield start
    for server in started:
        server.process.kill()
        server.process.communicate()


def raw(server, request: bytes) -> bytes:
    """What comes back for bytes that no client library would send."""
    port = int(re.search(r":(\d+)/", server.address).group(1))
    with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
        connection.sendall(request)
        answer = b""
        with suppress(ConnectionResetError):  # it may be closed before all was read
            while part := connection.recv(65536):
                answer += part
        return answer


def test_a_person_serves_asks_and_ends_it(serve, world, tmp_path):
    server = serve()
    assert server.line == f"{world / 'made'}: open {server.address}   (Ctrl-C ends it)\n"
    assert server.address.startswith("http://127.0.0.1:")
    answer = server.get("api/search?text=a+red+dog&k=2")
    assert answer.headers["content-type"] == "application/json" and answer.headers["server"] is None
    hit = json.load(answer)["hits"][0]
    content = (world / "world" / "videos" / hit["name"]).read_bytes()
    part = server.get(hit["media"][1:], Range="bytes=10-29")
    assert (part.status, part.read()) == (206, content[10:30])
    assert server.get(hit["thumbnail"][1:]).read()[:2] == b"\xff\xd8"
    with pytest.raises(urllib.error.HTTPError) as caught:
        server.get("api/collection", Host="evil.example")
    assert caught.value.code == 421
    check_limits_of_what_comes_in(server)
    assert server.end(signal.SIGINT) == (0, "")  # an access log, or a traceback, would be said here
    assert [file.name for file in tmp_path.iterdir() if "mmretrieval" in file.name] == []


def check_limits_of_what_comes_in(server):
    asked = b"GET /api/collection HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
    assert b" 200 " in raw(server, asked + b"\r\n")
    assert raw(server, asked + b"X: " + b"x" * (20 << 10) + b"\r\n\r\n").startswith(b"HTTP/1.1 4")
    head = b"POST /api/search?as=speech HTTP/1.1\r\nHost: localhost\r\nContent-Type: audio/wav\r\nConnection: close\r\n"
    assert b" 413 " in raw(server, head + b"Content-Length: 9999999999\r\n\r\n" + bytes(1000))  # and no more
    chunk = b"100000\r\n" + bytes(1 << 20) + b"\r\n"
    endless = raw(server, head + b"Transfer-Encoding: chunked\r\n\r\n" + 40 * chunk + b"0\r\n\r\n")
    assert b" 413 " in endless and b"uploads may have at most 32 MB" in endless


def test_the_nearest_moments_come_from_milvus(serve, world, tmp_path):
    folder, place = world / "made", str(tmp_path / "lite.db")
    push = [sys.executable, "-m", "mmretrieval", "index", "push", str(folder), "--milvus", place]
    subprocess.run(push, check=True, capture_output=True, env={**os.environ, "PYTHONPATH": str(ROOT)})
    there, here = serve("--backend", "milvus", "--milvus", place), serve()
    question = "api/search?text=a+red+dog&k=3"
    hits = [json.load(server.get(question))["hits"] for server in (there, here)]
    assert [hit["id"] for hit in hits[0]] == [hit["id"] for hit in hits[1]] and len(hits[0]) == 3
    assert there.end(signal.SIGINT) == here.end(signal.SIGINT) == (0, "")


def test_others_are_let_in_with_a_token(serve, tmp_path):
    server = serve("--host", "0.0.0.0")
    assert re.fullmatch(r"http://[^/]+:\d+/\?token=[\w-]{32}", server.address)
    port, token = re.search(r":(\d+)/\?token=(.+)", server.address).groups()
    here = f"http://127.0.0.1:{port}/"
    with pytest.raises(urllib.error.HTTPError) as caught:
        server.get("api/collection", here)
    assert caught.value.code == 401
    assert server.get("api/collection", here, Authorization=f"Bearer {token}").status == 200
    assert server.end(signal.SIGTERM) == (0, "")  # told to end by something else than a person
    assert [file.name for file in tmp_path.iterdir() if "mmretrieval" in file.name] == []


@pytest.mark.parametrize(
    ("options", "token"),
    [
        (["--host", "127.0.0.1"], None),
        (["--host", "0.0.0.0", "--no-token"], None),
        (["--host", "127.0.0.1", "--token", "my-own-token"], "my-own-token"),
        (["--host", "0.0.0.0", "--token", "my-own-token"], "my-own-token"),
    ],
)
def test_a_token_of_ones_own_or_none(run, world, monkeypatch, options, token):
    served = []
    monkeypatch.setattr("mmretrieval.web.server.run", lambda *arguments: served.append(arguments[3]))
    assert run("serve", world / "made", "--port", 0, *options) == (0, "", "")
    assert served == [token]


# --- what stops it at once


def test_there_is_no_collection(run, tmp_path):
    missing = tmp_path / "missing"
    assert run("serve", missing) == (
        2,
        "",
        f"mmretrieval: no collection at '{missing}': 'mmretrieval index build {missing} --model MODEL VIDEOS'\n",
    )


def test_milvus_has_no_copy(run, world, tmp_path):
    folder, place = world / "made", tmp_path / "empty.db"
    code, _, said = run("serve", folder, "--port", 0, "--backend", "milvus", "--milvus", place)
    line = f"mmretrieval index push {folder} --milvus {place}"
    assert (code, said) == (2, f"mmretrieval: {folder} is not in Milvus at {place}: {line}\n")
    code, _, said = run("serve", folder, "--port", 0, "--backend", "milvus")
    assert (code, said) == (
        2,
        "mmretrieval: say where Milvus is: --milvus http://host:19530 or MMRETRIEVAL_MILVUS\n",
    )


def test_the_port_is_taken(run, world):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        code, _, said = run("serve", world / "made", "--port", port)
    assert (code, said) == (
        2,
        f"mmretrieval: port {port} on 127.0.0.1 cannot be used (address already in use): choose another with --port\n",
    )


def test_there_is_no_such_address(run, world):
    code, _, said = run("serve", world / "made", "--host", "192.0.2.1", "--no-token")
    assert (code, said) == (
        2,
        "mmretrieval: there is no address '192.0.2.1' on this machine: give --host 127.0.0.1\n",
    )


def test_the_model_is_gone(run, world, tmp_path):
    import shutil

    shutil.copytree(world / "made", tmp_path / "deep" / "made")
    shutil.move(world / "model", world / "elsewhere")
    try:
        code, _, said = run("serve", tmp_path / "deep" / "made", "--port", 0)
    finally:
        shutil.move(world / "elsewhere", world / "model")
    assert (code, said) == (
        2,
        f"mmretrieval: {tmp_path / 'deep' / 'made'} was made with the model in '{world / 'model'}', which is no longer "
        f"there: say where it is with --model\n",
    )


def test_two_answers_about_the_token(run, world):
    code, _, said = run("serve", world / "made", "--token", "a-long-token", "--no-token")
    assert (code, said) == (
        2,
        "mmretrieval: --token and --no-token are two answers to one question: give one of them\n",
    )
    code, _, said = run("serve", world / "made", "--token", "short")
    assert (code, said) == (
        2,
        "mmretrieval: --token is 8 to 200 letters, digits and . _ ~ -: give such a one, or none\n",
    )


def test_the_extra_is_not_installed(run, world, monkeypatch):
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    code, _, said = run("serve", world / "made")
    assert (code, said) == (2, "mmretrieval: the page needs uvicorn: pip install 'mmretrieval[web]'\n")
