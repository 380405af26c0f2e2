"""Who may ask: names, other sites, tokens; and what every answer says to browsers."""

import pytest
from starlette.responses import PlainTextResponse
from starlette.testclient import TestClient

from mmretrieval.web.gate import HEADERS, Gate, is_loopback, make_token, own_names

TOKEN = "a-token-of-many-letters"


def client_of(token=None, names=("localhost", "videos.example"), base="http://localhost:8000"):
    gate = Gate(PlainTextResponse("inside"), token, names)
    return TestClient(gate, base_url=base, follow_redirects=False)


def test_every_answer_keeps_itself_safe():
    client = client_of(TOKEN)
    for answer in (client.get("/"), client.get("/", headers={"Host": "evil.example"}), client.get(f"/?token={TOKEN}")):
        for name, value in HEADERS.items():
            assert answer.headers[name] == value
        assert "server" not in answer.headers and "access-control-allow-origin" not in answer.headers
    policy = HEADERS["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; ") and "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy and "http" not in policy and "*" not in policy
    assert HEADERS["Permissions-Policy"].startswith("microphone=(self),")


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "localhost:8000",
        "LOCALHOST",
        "127.0.0.1:9",
        "[::1]:8000",
        "192.168.1.5",
        "videos.example",
        "localhost.",
    ],
)
def test_names_it_answers_to(host):
    assert client_of().get("/", headers={"Host": host}).text == "inside"


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "",
        "localhost/x",
        "a@localhost",
        "[::1",
        "x:y",
    ],
)
def test_names_it_does_not(host):
    answer = client_of().get("/", headers={"Host": host})
    assert answer.status_code == 421
    assert answer.json()["detail"] == (
        f"this server does not answer to the name '{host}': say --name to 'mmretrieval serve'"
    )


def test_long_headers():
    for headers, address in (({"X": "x" * (17 << 10)}, "/"), ({}, f"/?text={'x' * (17 << 10)}")):
        answer = client_of().get(address, headers=headers)
        detail = "address and headers may have 16 KB: ask for less at a time"
        assert (answer.status_code, answer.json()["detail"]) == (431, detail)
    assert client_of().get("/", headers={"X": "x" * (15 << 10)}).text == "inside"


def test_names_of_a_server():
    assert own_names("127.0.0.1") == {"localhost", "127.0.0.1"}
    assert {"localhost", "0.0.0.0"} < own_names("0.0.0.0")
    for host, alone in (("127.0.0.1", True), ("127.9.9.9", True), ("::1", True), ("localhost", True)):
        assert is_loopback(host) is alone
    for host in ("0.0.0.0", "::", "192.168.1.5", "example.org", ""):
        assert not is_loopback(host)


FOREIGN = "a page of another site may not ask here: open the address of this server itself"


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://localhost:3000"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"},
    ],
)
def test_other_sites_send_nothing(headers):
    answer = client_of().post("/api/search", headers=headers)
    assert (answer.status_code, answer.json()["detail"]) == (403, FOREIGN)


@pytest.mark.parametrize(
    "headers",
    [{}, {"Origin": "http://localhost:8000"}, {"Sec-Fetch-Site": "same-origin", "Origin": "http://localhost:8000"}],
)
def test_the_page_itself_and_programs_do(headers):
    assert client_of().post("/api/search", headers=headers).text == "inside"


def test_other_sites_embed_nothing_but_may_link_here():
    client = client_of()
    for headers in (
        {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "image"},
        {"Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "cors", "Sec-Fetch-Dest": "empty"},
        {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "iframe"},
    ):
        assert client.get("/media/x", headers=headers).status_code == 403
    link = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
    assert client.get("/", headers=link).text == "inside"
    assert client.get("/", headers={"Sec-Fetch-Site": "none"}).text == "inside"


@pytest.mark.parametrize("method", ["PUT", "DELETE", "OPTIONS", "PATCH", "TRACE"])
def test_other_methods(method):
    answer = client_of().request(method, "/")
    assert (answer.status_code, answer.headers["allow"]) == (405, "GET, HEAD, POST")


# --- the token


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": "Bearer wrong"},
        {"Authorization": f"Basic {TOKEN}"},
        {"Cookie": f"token={TOKEN}"},
        {"Cookie": "=;;"},
    ],
)
def test_without_the_token_there_is_nothing(headers):
    client = client_of(TOKEN)
    for method, address in (("GET", "/"), ("GET", "/api/search?text=a"), ("POST", "/api/search"), ("GET", "/media/x")):
        answer = client.request(method, address, headers=headers)
        assert answer.status_code == 401 and answer.headers["www-authenticate"].startswith("Bearer")
        assert answer.json()["detail"] == "a token is needed: open the address that 'mmretrieval serve' printed"
    assert client.get(f"/api/search?token={TOKEN}").status_code == 401  # in addresses of the page alone


def test_with_the_token():
    assert client_of(TOKEN).get("/x", headers={"Authorization": f"Bearer {TOKEN}"}).text == "inside"
    assert client_of(TOKEN).get("/x", headers={"Authorization": f"bearer  {TOKEN} "}).text == "inside"


def test_the_address_with_the_token_becomes_a_cookie():
    client = client_of(TOKEN)
    answer = client.get(f"/?token={TOKEN}&text=a+dog")
    assert (answer.status_code, answer.headers["location"]) == (303, "/?text=a+dog")
    cookie = answer.headers["set-cookie"]
    assert "HttpOnly" in cookie and "SameSite=Strict" in cookie and "Path=/" in cookie
    assert client.get("/").text == "inside"
    wrong = client_of(TOKEN).get("/?token=wrong")
    assert wrong.status_code == 401 and "set-cookie" not in wrong.headers
    assert wrong.json()["detail"] == "the token in this address is not that of this server"


def test_two_servers_on_a_machine_keep_their_cookies_apart():
    assert Gate(None, TOKEN).cookie != Gate(None, "another-token").cookie


def test_tokens_are_compared_in_constant_time(monkeypatch):
    asked = []
    monkeypatch.setattr("hmac.compare_digest", lambda *pair: asked.append([len(part) for part in pair]) or False)
    assert client_of(TOKEN).get("/", headers={"Authorization": "Bearer x"}).status_code == 401
    assert asked and all(lengths == [32, 32] for lengths in asked)


def test_tokens_that_are_made():
    tokens = {make_token() for _ in range(50)}
    assert len(tokens) == 50 and all(len(token) == 32 for token in tokens)
