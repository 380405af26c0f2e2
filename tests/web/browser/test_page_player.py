"""The player of the page, and the ways around in it: links, back, keys, colours, sizes."""

import re
from urllib.parse import quote

import pytest
from page_facts import HALF, PAGE, expect_text


def test_it_plays_at_the_moment(visit, searcher):
    seen = visit("/?text=a+green+thing")
    seen.settled()
    answers = searcher.search(text="a green thing", k=PAGE)
    at = next(place for place, hit in enumerate(answers) if hit.start == HALF)
    with seen.page.expect_response("**/media/*") as media:
        seen.page.locator(".card-link").nth(at).click()
    assert media.value.status == 206
    assert media.value.request.all_headers()["range"].startswith("bytes=")
    inside = f"(() => {{ const at = video.currentTime; return at >= {HALF} - 0.1 && at <= {2 * HALF} + 0.1 && at; }})()"
    seen.page.wait_for_function(f"() => !video.paused && {inside}")
    before = seen.page.evaluate("video.currentTime")
    seen.page.wait_for_function(f"() => video.currentTime > {before}")
    assert seen.page.evaluate(inside)
    assert "0:03–0:06 of 0:06" in seen.page.inner_text("#player-facts")


@pytest.mark.parametrize("late", [0, 700, 6000])
@pytest.mark.parametrize("ending", ["repeat", "stop", "go on"])
def test_at_the_end_of_the_moment(visit, searcher, ending, late):
    """Also where the page is so many milliseconds late to see that it is reached, even after the end of the file."""
    first = next(hit for hit in searcher.search(text="a green thing", k=PAGE) if hit.start == 0 and hit.end == HALF)
    seen = visit(f"/#moment={quote(first.id)}")
    seen.page.wait_for_selector("#player", state="visible")
    seen.page.locator(".endings label", has_text=ending).click()
    seen.page.wait_for_function("() => video.readyState > 2")
    seen.page.evaluate(f"{{ window.requestAnimationFrame = (then) => setTimeout(then, {late}); void 0; }}")
    seen.page.evaluate("video.pause(), video.currentTime = 2.6, video.play()")
    if ending == "repeat":
        seen.page.wait_for_function("() => video.currentTime < 1 && !video.paused")
    elif ending == "stop":
        seen.page.wait_for_function("() => video.paused && !video.seeking")
        assert seen.page.evaluate("video.currentTime") == pytest.approx(HALF, abs=0.1)
        seen.page.evaluate("video.play()")
        seen.page.wait_for_function("() => video.currentTime < 1 && !video.paused")
    else:
        seen.page.wait_for_function(f"() => video.currentTime > {HALF} + 0.3")


def test_what_browsers_do_not_play_is_filmed_anew(visit, searcher):
    (old,) = [hit for hit in searcher.search(text="a blue thing", k=80) if hit.path.endswith("old.avi")]
    seen = visit(f"/#moment={quote(old.id)}")
    seen.page.wait_for_function("() => !video.paused && video.currentTime > 0.1")
    assert "/clips/" in seen.page.evaluate("video.currentSrc")
    assert not [request for request in seen.requests if "/media/" in request.url]


def test_results_follow_each_other_in_the_player(visit):
    seen = visit("/?text=a+green+thing")
    seen.settled()
    shown = seen.ids()
    seen.page.locator(".card-link").first.click()
    expect_text(seen.page, "#place", "1 of 24+")
    for key, at in (("ArrowRight", 1), ("ArrowRight", 2), ("ArrowLeft", 1)):
        seen.page.keyboard.press(key)
        expect_text(seen.page, "#place", f"{at + 1} of 24+")
    assert seen.page.url.endswith(f"#moment={quote(shown[1], safe='')}")
    seen.page.keyboard.press("Escape")
    seen.page.wait_for_selector("#player", state="hidden")
    assert "#" not in seen.page.url
    assert seen.page.evaluate("document.activeElement.closest('.card').dataset.id") == shown[1]
    seen.page.keyboard.press("Enter")
    expect_text(seen.page, "#place", "2 of 24+")
    with seen.page.expect_response(lambda answer: "like=" in answer.url):
        seen.page.get_by_role("button", name="More like this", exact=True).click()
    seen.page.wait_for_selector("#player", state="hidden")


def test_whoever_goes_back_is_not_taken_on_by_a_late_page(visit):
    seen = visit("/?text=a+green+thing")
    seen.settled()
    late = []
    seen.page.route("**/api/search?*offset=24*", lambda route: late.append(route))
    seen.page.locator(".card-link").last.click()
    expect_text(seen.page, "#place", "24 of 24+")
    with seen.page.expect_request(lambda request: "offset=24" in request.url):
        seen.page.keyboard.press("ArrowRight")
    seen.page.keyboard.press("ArrowLeft")
    expect_text(seen.page, "#place", "23 of 24+")
    late[0].continue_()
    seen.page.wait_for_function(f"() => document.querySelectorAll('.card').length > {PAGE}")
    assert seen.page.inner_text("#place").startswith("23 of")


def test_a_link_leads_to_a_moment(visit, address):
    seen = visit("/?text=a+green+thing")
    seen.page.context.grant_permissions(["clipboard-read", "clipboard-write"], origin=address)
    seen.settled()
    seen.page.locator(".card-link").nth(3).click()
    name = seen.page.inner_text("#player-name")
    seen.page.get_by_role("button", name="Copy link").click()
    expect_text(seen.page, "#copy-text", "Copied")
    link = seen.page.evaluate("navigator.clipboard.readText()")
    other = visit(link.removeprefix(address))
    other.page.wait_for_selector("#player", state="visible")
    assert other.page.inner_text("#player-name") == name
    assert other.page.locator("#next").is_disabled()


def test_a_link_to_what_is_not_there(visit):
    seen = visit()
    expect_text(seen.page, "#title", "harbour")
    seen.refusals = True
    seen.page.evaluate("location.hash = '#moment=nobody'")
    seen.page.get_by_role("alert").wait_for()
    assert "There is no moment 'nobody' in this collection" in seen.page.get_by_role("alert").inner_text()
    assert seen.page.locator("#player").is_hidden()


def test_the_way_back(visit):
    seen = visit()
    seen.search("a green thing")
    green = seen.ids()
    seen.search("a blue thing")
    blue = seen.ids()
    assert green != blue
    seen.page.locator(".card-link").first.click()
    seen.page.wait_for_selector("#player", state="visible")
    seen.page.go_back()
    seen.page.wait_for_selector("#player", state="hidden")
    assert seen.ids() == blue
    with seen.page.expect_response("**/api/search?*"):
        seen.page.go_back()
    seen.settled()
    assert seen.ids() == green and seen.page.input_value("#text") == "a green thing"
    seen.page.go_back()
    seen.page.wait_for_selector(".suggested")
    assert seen.page.input_value("#text") == "" and seen.ids() == []
    with seen.page.expect_response("**/api/search?*"):
        seen.page.go_forward()
    seen.settled()
    assert seen.ids() == green


def test_keys_are_enough(visit):
    seen = visit()
    expect_text(seen.page, "#title", "harbour")
    focused = "document.activeElement.closest('.card')?.dataset.id"
    seen.page.keyboard.press("/")
    seen.page.keyboard.type("a green thing")
    with seen.page.expect_response("**/api/search?*"):
        seen.page.keyboard.press("Enter")
    seen.settled()
    shown = seen.ids()
    across = seen.page.evaluate(
        "[...document.querySelectorAll('.card')].filter((card, _, all) => card.offsetTop === all[0].offsetTop).length"
    )
    assert across > 2
    for key, at in (
        *(("ArrowDown", 0), ("ArrowRight", 1), ("ArrowDown", 1 + across), ("ArrowLeft", across), ("ArrowUp", 0)),
        *(("End", PAGE - 1), ("Home", 0)),
    ):
        seen.page.keyboard.press(key)
        assert seen.page.evaluate(focused) == shown[at], key
    assert seen.page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    assert seen.page.locator('.card-link[tabindex="0"]').count() == 1
    seen.page.keyboard.press("ArrowRight")
    seen.page.keyboard.press("Enter")
    expect_text(seen.page, "#place", "2 of")
    seen.page.wait_for_function("() => !video.paused")
    seen.page.keyboard.press(" ")
    seen.page.wait_for_function("() => video.paused")
    seen.page.keyboard.press("Escape")
    seen.page.wait_for_selector("#player", state="hidden")
    assert seen.page.evaluate(focused) == shown[1]
    with seen.page.expect_response(lambda answer: "like=" in answer.url):
        seen.page.keyboard.press("l")
    seen.settled()
    seen.page.keyboard.press("?")
    seen.page.wait_for_selector("#keys", state="visible")
    seen.page.keyboard.press("Escape")
    seen.page.wait_for_selector("#keys", state="hidden")


def test_light_and_dark(visit):
    def ground(page):
        red, green, blue = map(
            int, re.findall(r"\d+", page.evaluate("getComputedStyle(document.body).backgroundColor"))[:3]
        )
        return (red + green + blue) / 3

    dark, light = visit(color_scheme="dark"), visit(color_scheme="light")
    assert ground(dark.page) < 60 and ground(light.page) > 200
    button = light.page.get_by_role("button", name="Colours")
    button.click()
    button.click()
    assert button.get_attribute("aria-label") == "Colours: dark" and ground(light.page) < 60
    light.page.reload()
    assert ground(light.page) < 60


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_letters_stand_out(visit, scheme):
    """Contrast of at least 4.5 between letters and what they stand on, as WCAG AA has it."""
    seen = visit("/?text=thing&folder=harbour", color_scheme=scheme)
    seen.settled()
    low = seen.page.evaluate(CONTRAST)
    assert low == []


CONTRAST = """() => {
  const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const rgb = (colour) => {
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = colour;
    canvas.fillRect(0, 0, 1, 1);
    const [r, g, b, a] = canvas.getImageData(0, 0, 1, 1).data;
    return { parts: [r, g, b], alpha: a / 255 };
  };
  const light = (parts) => {
    const [r, g, b] = parts.map((part) => (part /= 255) <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ground = (element) => {
    for (; element; element = element.parentElement) {
      const colour = rgb(getComputedStyle(element).backgroundColor);
      if (colour.alpha > 0.5) return colour.parts;
    }
    return [255, 255, 255];
  };
  const low = [];
  for (const element of document.querySelectorAll("body *")) {
    const own = [...element.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim());
    if (!own || !element.checkVisibility({ opacityProperty: true, visibilityProperty: true })) continue;
    const [a, b] = [light(rgb(getComputedStyle(element).color).parts), light(ground(element))];
    const contrast = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (contrast < 4.5) low.push(`${element.className || element.id || element.tagName}: ${contrast.toFixed(1)}`);
  }
  return low;
}"""


@pytest.mark.parametrize("width", [320, 390])
def test_a_phone_shows_everything_in_its_width(visit, width):
    seen = visit(viewport={"width": width, "height": 740}, has_touch=True, is_mobile=True)
    expect_text(seen.page, "#title", "harbour")
    assert seen.fits()
    seen.search("a green thing")
    seen.page.get_by_role("button", name="Filters").click()
    assert seen.fits()
    seen.page.locator(".card-link").first.click()
    seen.page.wait_for_selector("#player", state="visible")
    assert seen.fits()
    assert seen.page.evaluate("document.querySelector('#player').scrollWidth <= innerWidth")
    assert seen.page.locator("#player-close").bounding_box()["x"] < width
