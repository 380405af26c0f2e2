"""What the page shows of answers, and what goes wrong."""

import json
import re
from pathlib import Path

from page_facts import BROKEN, PAGE, TOKEN, VIDEOS, expect_text, ids

from mmretrieval.search.filters import Filter


def test_where_nothing_matches_the_page_says_so(visit, searcher):
    assert not searcher.search(text="thing").matched
    seen = visit("/?text=thing")
    seen.settled()
    assert "No good match." in seen.page.locator(".banner.weak").inner_text()
    assert len(seen.ids()) == PAGE
    seen.search("a green thing")
    assert searcher.search(text="a green thing").matched == (seen.page.locator(".banner.weak").count() == 0)


def test_filters_change_the_hits_and_can_be_taken_away(visit, searcher):
    seen = visit("/?text=a+green+thing")
    seen.settled()
    everything = seen.ids()
    seen.page.get_by_role("button", name="Filters").click()
    with seen.page.expect_response("**/api/search?*folder=*"):
        seen.page.select_option("[name=folder]", "mountains")
    seen.settled()
    assert 0 < len(seen.ids()) < len(everything)
    with seen.page.expect_response("**/api/search?*tag=rising*"):
        seen.page.locator(".tag", has_text="rising").click()
    seen.settled()
    # near-duplicates are one hit, so that not every film of these has one of its own
    names = set(seen.names())
    assert names and names <= {f"film-{number:02d}.mp4" for number in range(VIDEOS) if number % 3 == 0 and number % 2}
    mountains = Path(searcher.collection.moments[0].path).parents[1] / "mountains"
    passing = Filter(folder=str(mountains), tags=("rising",))
    assert seen.ids() == ids(searcher.search(text="a green thing", k=PAGE, filters=passing))
    with seen.page.expect_response("**/api/search?*after=2023-11-30*"):
        seen.page.fill("[name=after]", "2023-11-30")
        seen.page.press("[name=after]", "Tab")
    seen.settled()
    assert set(seen.names()) == {"film-21.mp4", "film-27.mp4"}
    chips = seen.page.locator("#chips .chip").all_inner_texts()
    assert chips == ["in mountains", "changed on or after 2023-11-30", "labelled rising"]
    for chip in chips:
        with seen.page.expect_response("**/api/search?*"):
            seen.page.get_by_role("button", name=f"Remove: {chip}").click()
        seen.settled()
    assert seen.ids() == everything


def test_filters_that_leave_nothing(visit):
    seen = visit("/?text=a+green+thing&min_seconds=60")
    seen.settled()
    assert "Nothing passes these filters." in seen.page.inner_text("#banners")
    with seen.page.expect_response("**/api/search?text=a+green+thing&k=24*"):
        seen.page.get_by_role("button", name="Remove all filters").click()
    seen.settled()
    assert len(seen.ids()) == PAGE


def test_what_was_set_aside(visit):
    seen = visit()
    seen.page.get_by_role("link", name="2 set aside").click()
    rows = seen.page.locator("#aside-list li")
    rows.nth(1).wait_for()
    assert {row.locator("strong").inner_text() for row in rows.all()} == set(BROKEN)
    seen.page.fill("#aside-find", "notes")
    assert rows.count() == 1 and "is not a video, or is damaged" in rows.inner_text()
    assert seen.page.inner_text("#aside-count") == "1 of 2 entries"
    seen.page.keyboard.press("Escape")  # empties the field
    seen.page.keyboard.press("Escape")
    seen.page.wait_for_selector("#aside", state="hidden")
    seen.page.wait_for_url(re.compile(r"/$"))


def test_the_start_suggests_nothing_but_what_is_in_the_collection(visit):
    seen = visit()
    seen.page.wait_for_selector(".suggested")
    assert "62 moments in 31 videos" in seen.page.inner_text("#start") or seen.page.inner_text(".inside")
    suggested = seen.page.locator(".suggested button").all_inner_texts()
    assert set(suggested) <= {"falling", "rising", "harbour", "mountains"} and suggested
    seen.search("a green thing")
    seen.page.goto(seen.page.url.split("?")[0])
    seen.page.get_by_role("button", name="a green thing").wait_for()
    seen.page.get_by_role("button", name="forget them").click()
    assert seen.page.get_by_role("button", name="a green thing").count() == 0


def test_a_server_that_is_gone_and_comes_back(visit):
    seen = visit()
    seen.search("a green thing")
    seen.refusals = True
    seen.page.context.set_offline(True)
    seen.page.fill("#text", "a blue thing")
    seen.page.press("#text", "Enter")
    alert = seen.page.get_by_role("alert")
    alert.wait_for()
    assert "The server does not answer." in alert.inner_text()
    seen.page.context.set_offline(False)
    seen.page.wait_for_selector(".card:not(.ghost)")
    assert alert.count() == 0


def test_what_is_typed_before_the_server_is_there_stays(visit, address):
    seen = visit("about:blank", base="")
    seen.refusals = True
    seen.page.route("**/api/*", lambda route: route.abort())
    seen.page.goto(address)
    seen.page.get_by_role("alert").wait_for()
    seen.page.fill("#text", "a green")
    seen.page.unroute("**/api/*")
    expect_text(seen.page, "#title", "harbour")
    assert seen.page.input_value("#text") == "a green"


def test_nobody_looks_for_the_server_once_it_has_answered(visit):
    seen = visit("/?text=a+blue+thing")
    seen.settled()
    seen.refusals = True
    seen.page.clock.install()
    seen.page.route("**/api/search?*offset=24*", lambda route: route.abort(), times=1)
    seen.page.click("#more")
    seen.page.get_by_role("alert").wait_for()
    seen.page.click("#more")
    seen.page.wait_for_function(f"() => document.querySelectorAll('.card').length > {PAGE}")
    number, asked = len(seen.ids()), len(seen.requests)
    assert seen.page.get_by_role("alert").count() == 0
    seen.page.clock.run_for(60_000)
    assert len(seen.ids()) == number and not [sent for sent in seen.requests[asked:] if "/api/" in sent.url]


def test_an_error_is_told_in_the_words_of_the_server(visit):
    seen = visit()
    expect_text(seen.page, "#title", "harbour")
    seen.refusals = True
    seen.page.goto(seen.page.url + "?text=a+green+thing&folder=nowhere")
    seen.page.get_by_role("alert").wait_for()
    assert "There is no folder 'nowhere' in this collection" in seen.page.get_by_role("alert").inner_text()
    seen.page.get_by_role("button", name="Remove: in nowhere").click()
    seen.settled()
    assert len(seen.ids()) == PAGE


def test_only_the_newest_question_is_answered(visit):
    seen = visit()
    seen.page.route("**/api/search?text=slow*", lambda route: None)
    seen.page.fill("#text", "slow")
    with seen.page.expect_request("**/api/search?text=slow*") as slow:
        seen.page.press("#text", "Enter")
    with seen.page.expect_event("requestfailed", lambda request: request == slow.value):
        seen.search("a green thing")
    assert len(seen.ids()) == PAGE and seen.page.locator(".banner.error").count() == 0


def test_names_of_files_are_letters_and_nothing_else(visit):
    """What a collection says is never taken for a part of the page."""
    seen = visit()

    def spoil(route):
        answer = route.fetch()
        body = answer.json()
        for hit in body["hits"]:
            hit["name"] = "<img src=x onerror=alert(1)>.mp4"
        route.fulfill(response=answer, body=json.dumps(body))

    seen.page.route("**/api/search?*", spoil)
    seen.search("a green thing")
    assert seen.names()[0] == "<img src=x onerror=alert(1)>.mp4"


def test_a_token_opens_the_page(visit, guarded):
    refused = visit("about:blank", base="")
    refused.refusals = True
    answer = refused.page.goto(guarded)
    assert answer.status == 401 and "a token is needed" in refused.page.inner_text("body")
    seen = visit(f"/?token={TOKEN}&text=a+green+thing", base=guarded)
    seen.settled()
    assert TOKEN not in seen.page.url and len(seen.ids()) == PAGE
    seen.refusals = True
    seen.page.context.clear_cookies()
    seen.page.fill("#text", "a blue thing")
    seen.page.press("#text", "Enter")
    seen.page.get_by_role("alert").wait_for()
    line = "A token is needed: open the address that 'mmretrieval serve' printed"
    assert seen.page.get_by_role("alert").locator("p").inner_text().strip() == line


def test_nothing_comes_from_elsewhere(visit, address):
    seen = visit("/?text=a+green+thing")
    seen.settled()
    assert {request.url.split("/")[2] for request in seen.requests} == {address.split("/")[2]}
