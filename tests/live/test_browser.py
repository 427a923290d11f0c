"""The page in headless Chromium, opened as a file, without a network."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from mnist_cnn.data.pictures import read_picture
from mnist_cnn.page import write_page
from mnist_cnn.runs.checkpoint import load_classifier
from tests.conftest import Trained
from tests.live.drawings import as_picture, as_points, drawings

SIZES = {"desktop": {"width": 1280, "height": 900}, "phone": {"width": 390, "height": 844}}


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("needs Chromium: apt-get install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def file(trained: Trained, tmp_path_factory: pytest.TempPathFactory) -> Path:
    copy = tmp_path_factory.mktemp("run") / "digits.ckpt"
    shutil.copy(trained.path / "checkpoints" / "last.ckpt", copy)
    return write_page(copy)


@pytest.fixture(params=SIZES)
def page(browser: Browser, file: Path, request: pytest.FixtureRequest) -> Iterator[Page]:
    """The open page; it must make no request and leave nothing in the console."""
    context = browser.new_context(viewport=SIZES[request.param], has_touch=request.param == "phone", offline=True)
    page, noise = context.new_page(), []
    page.on("console", lambda message: noise.append(message.text))
    page.on("pageerror", lambda error: noise.append(str(error)))
    page.on("request", lambda asked: noise.append(asked.url) if asked.url != file.as_uri() else None)
    page.goto(file.as_uri())
    yield page
    context.close()
    assert noise == []


def draw(page: Page, strokes: list[list[tuple[float, float]]], with_finger: bool = False) -> None:
    box = page.locator("#sheet").bounding_box()
    assert box is not None
    on_screen = [
        [(box["x"] + x / 280 * box["width"], box["y"] + y / 280 * box["width"]) for x, y in stroke]
        for stroke in strokes
    ]
    (_touch if with_finger else _move_mouse)(page, on_screen)
    page.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")


def _move_mouse(page: Page, strokes: list[list[tuple[float, float]]]) -> None:
    for first, *others in strokes:
        page.mouse.move(*first)
        page.mouse.down()
        for point in others:
            page.mouse.move(*point)
        page.mouse.up()


def _touch(page: Page, strokes: list[list[tuple[float, float]]]) -> None:
    devtools = page.context.new_cdp_session(page)
    for stroke in strokes:
        for number, (x, y) in enumerate(stroke):
            kind = "touchMove" if number else "touchStart"
            devtools.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": [{"x": x, "y": y}]})
        devtools.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})


def shown_digit(page: Page) -> str:
    return page.locator("#answer").get_attribute("data-label") or ""


def test_ten_digits_drawn_by_mouse_or_finger_are_answered_as_by_pytorch(
    page: Page, trained: Trained, tmp_path: Path
) -> None:
    with_finger = page.evaluate("navigator.maxTouchPoints") > 0
    classifier = load_classifier(trained.path)
    for drawing in drawings("plain")[::4]:
        strokes = [as_points(stroke)[::3] for stroke in drawing["strokes"]]
        page.get_by_role("button", name="Clear").click()
        draw(page, strokes, with_finger)
        as_picture(strokes, 20).save(tmp_path / "drawn.png")
        expected = classifier.predict(read_picture(tmp_path / "drawn.png"))
        if expected.probabilities.max() > 0.9:  # the page's pen is a little wider or narrower
            assert shown_digit(page) == str(int(expected.digits)), drawing


def test_undo_and_clear_lead_back_to_an_empty_sheet(page: Page) -> None:
    page.get_by_role("button", name="Clear").click()
    draw(page, [])  # waits for the next frame
    assert page.locator("#answer").inner_text() == "Draw a digit from 0 to 9."
    draw(page, [[(140, 40), (140, 240)], [(40, 240), (240, 240)]])
    assert shown_digit(page) != ""
    page.get_by_role("button", name="Undo").click()
    draw(page, [])
    assert shown_digit(page) == "1"
    page.get_by_role("button", name="Undo").click()
    draw(page, [])
    assert shown_digit(page) == ""


def test_a_dot_and_a_scribble_are_answered(page: Page) -> None:
    page.get_by_role("button", name="Clear").click()
    draw(page, [[(140, 140)]])
    assert shown_digit(page).isdigit()
    draw(page, [[(20 + 37 * i % 240, 20 + 91 * i % 240) for i in range(30)]])
    chances = [float(text.removesuffix(" %")) for text in page.locator("#chances b").all_inner_texts()]
    assert sum(chances) == pytest.approx(100, abs=0.6)


def test_without_centring_a_digit_in_a_corner_looks_different(page: Page) -> None:
    page.get_by_role("button", name="Clear").click()
    draw(page, [[(20, 20), (60, 20), (40, 80)]])
    centred = page.evaluate("document.querySelector('#seen').toDataURL()")
    page.get_by_label("centre as MNIST does").uncheck()
    draw(page, [])
    assert page.evaluate("document.querySelector('#seen').toDataURL()") != centred


def test_test_images_are_answered_as_their_labels_say(page: Page, file: Path) -> None:
    data = json.loads(file.read_text().split("const PAGE = ")[1].split(";\n")[0])
    assert len(data["samples"]) == 20
    assert {digit["label"] for digit in data["samples"] if digit["label"] == digit["answered"]} == set(range(10))
    for button, digit in zip(page.locator("#samples button").all(), data["samples"], strict=True):
        button.press("Enter")
        draw(page, [])
        assert shown_digit(page) == str(digit["answered"])


def test_a_value_is_explained_by_mouse_and_keyboard(page: Page) -> None:
    conv1, pool1 = page.locator("#maps canvas").nth(0), page.locator("#maps canvas").nth(1)
    conv1.hover(position={"x": 40, "y": 10})
    draw(page, [])
    explanation = page.locator("#explanation")
    assert "conv1, map" in explanation.inner_text()
    assert explanation.locator("table").count() == 3  # window, kernel, products
    pool1.focus()
    pool1.press("ArrowDown")
    draw(page, [])
    assert "pool1, map 1, row 2, column 1" in explanation.inner_text()
    cells = [float(text.replace("−", "-")) for text in explanation.locator("td").all_inner_texts()]
    winner = float(explanation.locator(".winner").inner_text().replace("−", "-"))
    assert len(cells) == 4
    assert winner == max(cells)
    assert f"{winner:.2f}" in explanation.locator("span").inner_text()


def test_nothing_is_wider_than_the_screen(page: Page) -> None:
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_all_pictures_follow_the_colours_of_the_system(page: Page) -> None:
    page.emulate_media(color_scheme="dark")
    page.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
    corners = page.evaluate("""[...document.querySelectorAll("#seen, #samples canvas")].map(
        (canvas) => canvas.getContext("2d").getImageData(0, 0, 1, 1).data[0])""")
    assert len(corners) == 21
    assert set(corners) == {0x16}  # the dark page's paper
