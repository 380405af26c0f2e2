"""What clients ask and get: pages of hits, facts, and problems instead of errors."""

import itertools
import json

import pytest

PROBLEM = "application/problem+json"


def ask(client, **parameters):
    return client.get("/api/search", params=parameters)


def problem_of(answer) -> tuple[int, str]:
    """Status and detail of a problem; everything about it is as the standard says."""
    body = answer.json()
    assert answer.headers["content-type"] == PROBLEM
    assert set(body) == {"type", "title", "status", "detail"}
    assert (body["type"], body["status"]) == ("about:blank", answer.status_code)
    assert "\n" not in body["detail"] and "Traceback" not in answer.text
    return answer.status_code, body["detail"]


def test_a_typed_caption_finds_its_moment(client):
    page = ask(client, text="a green thing").json()
    assert set(page) == {"matched", "notes", "offset", "more", "hits"}
    hit = page["hits"][0]
    assert (hit["rank"], hit["name"], hit["folder"]) == (1, "green.mp4", "holiday")
    assert (hit["start"], hit["end"]) == (0.0, 2.0) and hit["best"] == [0.0, 2.0]
    assert hit["media"] == f"/media/{hit['video']}" and len(hit["video"]) == 32
    assert hit["thumbnail"].startswith("/thumbnails/") and hit["clip"].startswith("/clips/")
    assert hit["duration"] == 2.0 and hit["modified"].endswith("+00:00")


def test_nothing_says_where_files_lie_on_the_machine(client, videos, hit):
    like = hit("red")["id"]
    for address in (
        "/api/collection",
        "/api/set-aside",
        "/api/search?text=a+red+thing",
        f"/api/moments/{like}",
        "/api/search?like=nobody",
        "/api/search?text=a+red+thing&folder=holiday&min_seconds=99",
        "/api/search?text=a+red+thing&path=*.mkv",
    ):
        body = client.get(address).text
        assert str(videos.parent) not in body and "pytest" not in body, address


def test_patterns_of_paths_do_not_reach_above_the_collection(client, videos):
    assert ask(client, text="a red thing", path=f"{videos}/*").json()["hits"] == []
    assert ask(client, text="a red thing", path="*pytest*").json()["hits"] == []
    assert len(ask(client, text="a red thing", path="holiday/*").json()["hits"]) == 3


def test_filters(client):
    def names(**filters):
        page = ask(client, text="a red thing", fold=False, **filters).json()
        return {hit["name"] for hit in page["hits"]}

    assert names() == {"red.mp4", "green.mp4", "blue.avi", "loud.mp4"}
    assert names(folder="holiday") == {"green.mp4", "blue.avi", "loud.mp4"}
    assert names(folder="holiday/2026", path="*.avi") == {"blue.avi"}
    assert names(after="2100-01-01") == set()
    assert names(before="2100-01-01", min_seconds=1, max_seconds=3) == names()
    assert names(tag=["dog", "cat"]) == set()


def test_pages_are_parts_of_one_list(client):
    whole = ask(client, text="a red thing", fold=False).json()
    parts = [ask(client, text="a red thing", fold=False, k=1, offset=n).json() for n in range(4)]
    assert [part["hits"][0] for part in parts] == whole["hits"]
    assert [part["more"] for part in parts] == [True, True, True, False]
    assert parts[2]["offset"] == 2


def test_more_like_this_and_weights(client, hit):
    red = hit("red")["id"]
    names = [found["name"] for found in ask(client, like=red, fold=False).json()["hits"]]
    assert names[0] in ("red.mp4", "loud.mp4") and len(names) == 3
    turned = ask(client, text="a green thing", like=red, weight=["text:5", "like:0.1"]).json()
    assert turned["hits"][0]["name"] == "green.mp4"


def test_one_moment(client, hit):
    found = hit("green")
    alone = client.get(f"/api/moments/{found['id']}").json()
    assert alone == {name: found[name] for name in alone}
    assert {"rank", "score", "confidence", "matched"} == set(found) - set(alone)


def test_what_is_searched(client):
    facts = client.get("/api/collection").json()
    assert (facts["name"], facts["videos"], facts["moments"], facts["generation"]) == ("clips", 4, 4, 1)
    assert facts["modalities"] == ["video", "speech", "text"]
    assert facts["folders"] == [
        {"id": "holiday", "name": "holiday"},
        {"id": "holiday/2026", "name": "holiday/2026"},
    ]
    assert facts["limits"] == {"upload_bytes": 1 << 20, "seconds": 20.0}
    assert facts["set_aside"] == 1 and 2.0 <= facts["longest"] < 2.3
    assert facts["earliest"] <= facts["latest"] and len(facts["model"]) == 8
    assert facts["index"] == {"kind": "exact", "dim": 4, "metric": "cosine"}


def test_what_was_set_aside(client):
    (aside,) = client.get("/api/set-aside").json()
    assert aside["name"] == "notes.mp4" and aside["when"].endswith("+00:00")
    assert aside["reason"] == "is not a video, or is damaged (invalid data found when processing input)."


MENDABLE = {
    "nothing asked": ({}, "give something to look for: text, speech, video or like, got nothing"),
    "nothing but spaces": ({"text": "  "}, "the caption is empty: say in a few words what is to be seen."),
    "only what is not wanted": (
        {"without": "a red thing"},
        "nothing is asked for, only what is not wanted: give a query with a weight above 0",
    ),
    "an unknown moment": (
        {"like": "../../etc/passwd"},
        "there is no moment '../../etc/passwd' in this collection: give an id from a search",
    ),
    "an unknown folder": (
        {"text": "a red thing", "folder": "../.."},
        "there is no folder '../..' in this collection: /api/collection lists them",
    ),
    "no date": (
        {"text": "a red thing", "after": "soon"},
        "after: 'soon' is no date: write it like 2026-01-31 or 2026-01-31T18:00",
    ),
    "an unknown parameter": (
        {"speech": "/etc/passwd"},
        "there is no parameter 'speech': /openapi.json lists those there are",
    ),
    "too many": ({"text": "a", "k": 101}, "k: input should be less than or equal to 100, got '101'"),
    "no number": (
        {"text": "a", "k": "ten"},
        "k: input should be a valid integer, unable to parse string as an integer, got 'ten'",
    ),
    "not finite": ({"text": "a", "min_score": "nan"}, "min_score: input should be a finite number, got 'nan'"),
    "no weight": (
        {"text": "a", "weight": "text"},
        "weight: a weight is written like text:0.5, with a number between -1000 and 1000",
    ),
    "a weight of nothing": (
        {"text": "a red thing", "weight": "video:1"},
        "there is a weight for video, but no video query",
    ),
}


@pytest.mark.parametrize("case", MENDABLE)
def test_what_the_person_can_mend_is_said_in_one_line(client, case):
    parameters, detail = MENDABLE[case]
    assert problem_of(ask(client, **parameters)) == (400, detail)


def test_there_is_nothing_else(client):
    assert problem_of(client.get("/nothing")) == (404, "there is nothing at this address")
    assert problem_of(client.get("/docs"))[0] == problem_of(client.get("/redoc"))[0] == 404
    assert problem_of(client.get("/page/../app.py"))[0] == problem_of(client.get("/page/..%2Fapp.py"))[0] == 404
    assert problem_of(client.delete("/api/search")) == (405, "this address does not take that method")
    assert problem_of(client.post("/api/collection")) == (405, "this address does not take that method")
    assert problem_of(client.get("/api/moments/nobody")) == (
        404,
        "there is no moment 'nobody' in this collection: give an id from a search",
    )


def test_a_bug_says_nothing_of_itself(client, service, monkeypatch):
    def broken(*arguments):
        raise RuntimeError("/home/somebody/secret")

    monkeypatch.setattr("mmretrieval.web.app.showing.show_collection", broken)
    answer = client.get("/api/collection")
    assert problem_of(answer) == (500, "something went wrong in the server: its log says what")
    assert "nosniff" in answer.headers["x-content-type-options"]


# --- never our fault, whatever is asked

TEXTS = [
    "",
    " ",
    "a red thing",
    "a" * 1000,
    "a" * 1001,
    "\x00",
    "é" * 500,
    "😀",
    "a\nb",
]
NUMBERS = ["", "0", "-1", "1", "100", "101", "10000", "10001", "1e400", "nan", "-inf", "9" * 400, "0x10", "٣"]
DATES = ["0001-01-01", "9999-12-31T23:59:59-23:59", "0001-01-01T00:00+23:59", "2026-02-30", "2026-W01", "", "x" * 501]
PATTERNS = ["*", "[", "[z-a]", "**/" * 60, "*a" * 100, "/" * 200, "a" * 201, "\\", "(?:x", "[!]", "[[:alpha:]]"]
SWEPT = {
    **dict.fromkeys(("text", "without", "like", "folder", "tag"), TEXTS),
    **dict.fromkeys(("k", "offset", "min_seconds", "max_seconds", "min_score", "merge", "fold"), NUMBERS),
    **dict.fromkeys(("after", "before"), DATES),
    "path": PATTERNS,
    "weight": ["text:nan", "text:1e999", ":", "text:0", "a:b:c", "text:-1", "text:1000", "text:1001", "like:1"],
}


@pytest.mark.parametrize("name", SWEPT)
def test_no_parameter_is_a_fault_of_the_server(client, name):
    for value in SWEPT[name]:
        for beside in ({}, {"text": "a red thing"} if name != "text" else {"like": "x"}):
            answer = ask(client, **{name: value}, **beside)
            assert answer.status_code in (200, 400), (name, value, answer.text)
            if answer.status_code == 400:
                problem_of(answer)


def test_no_address_is_a_fault_of_the_server(client):
    for prefix, part, suffix in itertools.product(
        ("/api/moments/", "/media/", "/thumbnails/", "/clips/", "/page/"),
        ("%2e%2e%2f%2e%2e%2fetc%2fpasswd", "%00", "a" * 3000, "%F0%9F%98%80", "%ff", "", "a/b/c"),
        ("", ".jpg", ".mp4"),
    ):
        answer = client.get(prefix + part + suffix)
        assert answer.status_code in (404, 405), (prefix, part, answer.text)


# --- the description


def test_the_description_is_complete(client):
    described = client.get("/openapi.json").json()
    assert described["openapi"].startswith("3.1")
    assert set(described["paths"]) == {
        *("/api/collection", "/api/search", "/api/moments/{moment}", "/api/set-aside"),
        *("/media/{video}", "/thumbnails/{moment}.jpg", "/clips/{moment}.mp4"),
    }
    assert "HTTPValidationError" not in json.dumps(described)
    for address, operations in described["paths"].items():
        for operation in operations.values():
            statuses = set(operation["responses"])
            assert {"200", "401", "403", "421", "500"} <= statuses, address
            for status in statuses:
                if int(status) >= 400:
                    content = operation["responses"][status]["content"]
                    assert content == {PROBLEM: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    search = described["paths"]["/api/search"]
    assert {part["name"] for part in search["post"]["parameters"]} - {
        part["name"] for part in search["get"]["parameters"]
    } == {"as"}
    assert set(search["post"]["requestBody"]["content"]) == {"audio/*", "video/*"}
    assert "Problem" in described["components"]["schemas"]


def test_every_reference_of_the_description_is_there(client):
    described = client.get("/openapi.json").json()
    named = {part.split('"')[0] for part in json.dumps(described).split('"#/components/schemas/')[1:]}
    assert named <= set(described["components"]["schemas"])


def test_one_mistake_in_a_group_is_its_own(client, monkeypatch, service):
    """A question that breaks the searcher does not take those along that are asked at the same time."""
    from mmretrieval.search.searcher import Searcher

    usual = Searcher.answers

    def answers(self, requests):
        if any(request.text == "a blue thing" for request in requests):
            raise ZeroDivisionError
        return usual(self, requests)

    monkeypatch.setattr(Searcher, "answers", answers)
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(8) as pool:
        texts = [f"a {colour} thing" for colour in ("red", "blue", "green", "red") * 4]
        found = list(pool.map(lambda text: ask(client, text=text).status_code, texts))
    assert found == [500 if "blue" in text else 200 for text in texts]
