"""Asking on the page: by keyboard, voice, recording, clip, and by what is not wanted."""

import re

import pytest
from fakes import video
from page_facts import ELSEWHERE, PAGE, SECONDS, UPLOAD_BYTES, expect_text, ids


def test_a_typed_question_gets_the_answers_of_the_searcher(visit, searcher):
    seen = visit()
    expect_text(seen.page, "#title", "Search harbour films")
    seen.search("a green thing")
    assert seen.ids() == ids(searcher.search(text="a green thing", k=PAGE))
    assert seen.page.url.endswith("/?text=a+green+thing")
    assert "a green thing" in seen.page.title()
    card = seen.page.locator(".card-link").first
    first = searcher.search(text="a green thing")[0]
    assert re.match(rf"1\. film-\d\d\.mp4, 0:0\d–0:0\d, .*score {first.score:.2f}", card.get_attribute("aria-label"))
    box = seen.page.locator(".picture").first.bounding_box()
    assert box["width"] / box["height"] == pytest.approx(16 / 9, abs=0.02)


def test_more_hits_come_on_demand(visit, searcher):
    seen = visit("/?text=a+blue+thing")
    seen.settled()
    assert len(seen.ids()) == PAGE
    seen.page.click("#more")
    seen.page.wait_for_function(f"() => document.querySelectorAll('.card').length > {PAGE}")
    assert seen.ids() == ids(searcher.search(text="a blue thing", k=2 * PAGE))
    seen.page.wait_for_function(
        "id => document.activeElement.closest('.card')?.dataset.id === id", arg=seen.ids()[PAGE]
    )


def test_more_hits_leave_the_focus_to_who_types(visit):
    seen = visit("/?text=a+blue+thing")
    seen.settled()
    late = []
    seen.page.route("**/api/search?*offset=24*", lambda route: late.append(route))
    with seen.page.expect_request(lambda request: "offset=24" in request.url):
        seen.page.click("#more")
    seen.page.fill("#text", "a green thing")
    late[0].continue_()
    seen.page.wait_for_function(f"() => document.querySelectorAll('.card').length > {PAGE}")
    with seen.page.expect_request(lambda request: "text=a+green+thing" in request.url):
        seen.page.keyboard.press("Enter")
    seen.settled()


def test_a_spoken_question(visit, searcher, tmp_path):
    seen = visit()
    expect_text(seen.page, "#title", "harbour")
    # what a page sends as a blob is not shown to those who watch its requests
    seen.page.evaluate(
        "{ const send = fetch; window.fetch = (at, how) => (window.sent = how?.body, send(at, how)); void 0; }"
    )
    seen.page.get_by_role("button", name="Ask by voice").click()
    seen.page.wait_for_selector("#recording", state="visible")
    seen.page.wait_for_function("() => /^0:0[1-6] [/] 0:06$/.test(document.getElementById('recorded').textContent)")
    with seen.page.expect_request(lambda request: request.method == "POST") as sent:
        seen.page.locator("#stop").click()
    seen.settled()
    assert "as=speech" in sent.value.url
    assert sent.value.headers["content-type"].startswith("audio/webm")
    recorded = tmp_path / "sent.webm"
    recorded.write_bytes(bytes(seen.page.evaluate("async () => [...new Uint8Array(await sent.arrayBuffer())]")))
    expected = searcher.search(speech=recorded, k=PAGE)
    assert seen.ids() == ids(expected) == ids(searcher.search(text="a green thing", k=PAGE))
    # it is asked again for the next page, together with words, and played back
    seen.page.evaluate(LABELS)
    seen.page.get_by_role("button", name="Listen to it").click()
    # it may be over before anybody looks
    seen.page.wait_for_function("() => labels.join() === 'Stop listening,Listen to it'")
    with seen.page.expect_request(lambda request: "offset=24" in request.url and request.method == "POST"):
        seen.page.click("#more")
    with seen.page.expect_request(lambda request: request.method == "POST" and "text=a+blue+thing" in request.url):
        seen.page.fill("#text", "a blue thing")
        seen.page.press("#text", "Enter")
    seen.settled()
    assert seen.ids() == ids(searcher.search(text="a blue thing", speech=recorded, k=PAGE))
    with seen.page.expect_request(lambda request: request.method == "POST"):
        seen.page.get_by_role("button", name="ask again").click()
    seen.settled()


LABELS = """{
    window.labels = [];
    const watch = new MutationObserver((changes) => changes.forEach(({ target }) => labels.push(target.ariaLabel)));
    watch.observe(document.querySelector(".play"), { attributes: true, attributeFilter: ["aria-label"] });
}"""
"""Keeps what the button for listening is called."""


def test_a_recording_ends_by_itself_where_it_would_be_too_long(visit):
    seen = visit()
    expect_text(seen.page, "#title", "harbour")
    with seen.page.expect_response(lambda answer: answer.request.method == "POST") as answered:
        seen.page.click("#mic")
    assert answered.value.status == 200
    seen.settled()
    lasted = re.search(r"your recording · 0:0(\d)", seen.page.inner_text("#chips"))
    assert int(lasted[1]) >= SECONDS  # and nobody pressed anything


def test_a_recording_that_ends_leaves_the_focus_to_who_types(visit):
    seen = visit()
    expect_text(seen.page, "#title", "harbour")
    seen.page.click("#mic")
    expect_text(seen.page, "#recorded", "/ 0:06")
    with seen.page.expect_response(lambda answer: answer.request.method == "POST"):
        seen.page.fill("#text", "a blue thing")
    seen.settled()
    assert seen.page.evaluate("document.activeElement.id") == "text"
    assert "a blue thing" in seen.page.title()  # what was typed is asked together with what was said


def test_a_recording_can_be_thrown_away(visit):
    seen = visit()
    expect_text(seen.page, "#title", "harbour")
    seen.page.click("#mic")
    expect_text(seen.page, "#recorded", "/ 0:06")
    seen.page.keyboard.press("Escape")
    seen.page.wait_for_selector("#recording", state="hidden")
    assert not [request for request in seen.requests if request.method == "POST"]


def test_a_refusal_after_the_recording_was_thrown_away_changes_nothing(visit):
    seen = visit()
    expect_text(seen.page, "#title", "harbour")
    seen.page.evaluate(
        "navigator.mediaDevices.getUserMedia = () => new Promise((_, no) => (window.asked ??= []).push(no)); void 0"
    )
    seen.page.click("#mic")
    seen.page.click("#cancel")
    seen.page.click("#mic")
    seen.page.evaluate("asked[0](new DOMException('no', 'NotAllowedError'))")
    assert seen.page.locator("#recording").is_visible() and seen.page.get_by_role("alert").count() == 0
    seen.page.evaluate("asked[1](new DOMException('no', 'NotAllowedError'))")
    seen.page.get_by_role("alert").wait_for()
    assert seen.page.locator("#recording").is_hidden()


def test_the_microphone_says_why_it_cannot_be_used(visit, address):
    seen = visit(base=address.replace("127.0.0.1", ELSEWHERE))
    mic = seen.page.get_by_role("button", name="Ask by voice")
    assert mic.get_attribute("aria-disabled") == "true"
    reason = "Browsers allow the microphone only on https or on localhost"
    assert reason in seen.page.inner_text("#mic-reason") and reason in mic.get_attribute("title")
    mic.click(force=True)
    assert seen.page.locator("#recording").is_hidden()


def test_a_recording_can_be_sent_where_the_microphone_cannot_be_used(visit, address, searcher, said):
    seen = visit(base=address.replace("127.0.0.1", ELSEWHERE))
    seen.page.set_input_files("#file", {"name": "said.wav", "mimeType": "audio/wav", "buffer": quiet(said)})
    seen.settled()
    assert seen.ids() == ids(searcher.search(text="a green thing", k=PAGE))


def quiet(said) -> bytes:
    """A second of the recording, small enough to be sent."""
    import io
    import wave

    out = io.BytesIO()
    with wave.open(str(said)) as whole, wave.open(out, "wb") as part:
        part.setparams(whole.getparams())
        part.writeframes(whole.readframes(48_000))
    return out.getvalue()


def test_an_example_clip_is_dropped_on_the_page(visit, searcher, tmp_path):
    clip = video(tmp_path / "clip.mp4", "blue", "blue")
    seen = visit()
    content = list(clip.read_bytes())
    transfer = seen.page.evaluate_handle(
        """content => {
            const transfer = new DataTransfer();
            transfer.items.add(new File([new Uint8Array(content)], "clip.mp4", { type: "video/mp4" }));
            return transfer;
        }""",
        content,
    )
    seen.page.dispatch_event("body", "dragenter", {"dataTransfer": transfer})
    assert seen.page.locator("#drop").is_visible()
    seen.page.dispatch_event("body", "drop", {"dataTransfer": transfer})
    seen.settled()
    assert seen.page.locator("#drop").is_hidden() and "clip.mp4" in seen.page.inner_text("#chips")
    assert seen.ids() == ids(searcher.search(video=clip, k=PAGE))


@pytest.mark.parametrize(
    "name, kind, content, line",
    [
        (
            "notes.txt",
            "text/plain",
            b"not a sound",
            "Send a recording as audio/… or video/…, got 'text/plain': wav, mp3, m4a, ogg, webm or flac",
        ),
        (
            "notes.wav",
            "audio/wav",
            b"not a sound",
            "The recording is none that can be read: send wav, mp3, m4a, ogg, webm or flac",
        ),
        (
            "long.wav",
            "audio/wav",
            bytes(2 * UPLOAD_BYTES),
            "At most 0.2 MB are taken, and long.wav has 0.4 MB: send a shorter one.",
        ),
    ],
)
def test_what_is_no_recording_costs_one_line(visit, name, kind, content, line):
    seen = visit()
    expect_text(seen.page, "#title", "harbour")
    seen.refusals = True
    seen.page.set_input_files("#file", {"name": name, "mimeType": kind, "buffer": content})
    alert = seen.page.get_by_role("alert")
    alert.wait_for()
    assert alert.locator("p").inner_text().strip() == line


def test_words_that_are_not_wanted(visit, searcher):
    seen = visit()
    seen.page.fill("#text", "a green thing")
    seen.page.click("#show-without")
    seen.page.keyboard.type("a blue thing")
    with seen.page.expect_response("**/api/search?*"):
        seen.page.keyboard.press("Enter")
    seen.settled()
    assert seen.ids() == ids(searcher.search(text="a green thing", without="a blue thing", k=PAGE))
    assert seen.page.input_value("#without") == "a blue thing"


def test_more_like_this(visit, searcher):
    seen = visit("/?text=a+green+thing")
    seen.settled()
    third = seen.ids()[2]
    seen.page.locator(".card").nth(2).hover()
    with seen.page.expect_response(lambda answer: "like=" in answer.url):
        seen.page.locator(".card .like").nth(2).click()
    seen.settled()
    assert seen.ids() == ids(searcher.search(like=third, k=PAGE))
    assert "like this moment" in seen.page.inner_text("#chips")
