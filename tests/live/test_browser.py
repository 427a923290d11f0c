"""The page in headless Chromium, opened as a file, without a network."""

import json
import shutil
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page

from mnist_cnn.data.pictures import read_picture
from mnist_cnn.page import write_page
from mnist_cnn.runs.checkpoint import load_classifier
from tests.conftest import Trained
from tests.live.drawings import as_picture, as_points, drawings
from tests.live.hand import draw, pressed, shown_digit


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


def test_undo_brings_back_what_clear_or_a_test_image_took(desktop: Page) -> None:
    assert pressed(desktop, "Clear").locator("#answer").inner_text().strip() == "Draw a digit from 0 to 9."
    draw(desktop, [[(140, 40), (140, 240)], [(40, 240), (240, 240)]])
    both = shown_digit(desktop)
    assert both != ""
    assert shown_digit(pressed(desktop, "Clear")) == ""
    desktop.locator("#samples button").first.click()
    draw(desktop, [])
    assert desktop.evaluate("drawing.image !== null")
    pressed(desktop, "Undo")
    assert shown_digit(pressed(desktop, "Undo")) == both
    assert shown_digit(pressed(desktop, "Undo")) == "1"
    desktop.keyboard.press("Control+z")
    draw(desktop, [])
    assert shown_digit(desktop) == ""
    desktop.keyboard.press("Control+Shift+z")
    draw(desktop, [])
    assert shown_digit(desktop) == "1"


def test_undoing_while_the_pen_is_down_ends_the_stroke(desktop: Page) -> None:
    pressed(desktop, "Clear")
    box = desktop.locator("#sheet").bounding_box()
    assert box is not None
    desktop.mouse.move(box["x"] + 50, box["y"] + 50)
    desktop.mouse.down()
    desktop.keyboard.press("Control+z")
    desktop.mouse.move(box["x"] + 90, box["y"] + 90)
    desktop.mouse.up()
    assert desktop.evaluate("drawing.strokes") == []
    draw(desktop, [[(140, 40), (140, 240)]])
    assert desktop.evaluate("drawing.strokes.length") == 1


def test_a_digit_draws_itself_until_something_is_touched(desktop: Page) -> None:
    desktop.wait_for_function("playing === -1")
    assert shown_digit(desktop) == "3"
    draw(desktop, [[(140, 40), (140, 240)]])
    assert desktop.evaluate("drawing.strokes.length") == 1


def test_a_dot_is_drawn_and_a_scribble_is_answered(page: Page) -> None:
    pressed(page, "Clear")
    draw(page, [[(140, 140)]])
    assert shown_digit(page).isdigit()
    assert page.evaluate("byId('sheet').getContext('2d').getImageData(140, 140, 1, 1).data[3]") == 255
    draw(page, [[(20 + 37 * i % 240, 20 + 91 * i % 240) for i in range(30)]])
    chances = [float(text.strip("<> %")) for text in page.locator("#chances b").all_inner_texts()]
    assert sum(chances) == pytest.approx(100, abs=1)


def test_a_drawing_is_moved_by_dragging_and_by_keys(desktop: Page) -> None:
    pressed(desktop, "Clear")
    draw(desktop, [[(140, 100), (140, 180)]])
    pressed(desktop, "Move")
    draw(desktop, [[(140, 140), (80, 120)]])
    assert desktop.evaluate("drawing.strokes[0][0].map(Math.round)") == pytest.approx([80, 80], abs=2)
    desktop.locator("#sheet").press("ArrowDown")
    assert desktop.evaluate("Math.round(drawing.strokes[0][0][1])") == pytest.approx(90, abs=2)
    desktop.evaluate("draw({ ...EMPTY, image: testImage(0) })")
    desktop.locator("#sheet").press("ArrowRight")
    assert desktop.evaluate(
        "drawing.image.slice(28).every((level, i) => level === (i % 28 ? testImage(0)[i + 27] : 0))"
    )


@pytest.mark.parametrize("what", ["strokes", "sheet", "image"])
def test_a_link_opens_the_page_with_the_drawing(desktop: Page, file: Path, what: str) -> None:
    pressed(desktop, "Clear")
    if what != "image":
        draw(desktop, [[(140, 40), (140, 240)], [(40, 240)]])
        for _ in range(20 * (what == "sheet")):  # beyond the side, and not centred
            desktop.locator("#sheet").press("ArrowLeft")
        draw(desktop, [])
    else:
        desktop.locator("#samples button").nth(2).click()
        draw(desktop, [])
    before = desktop.evaluate("[...seen]"), shown_digit(desktop)
    desktop.get_by_role("button", name="Copy a link to it").click()
    link = desktop.evaluate("location.href")
    desktop.goto("about:blank")
    desktop.goto(link)
    draw(desktop, [])
    assert (desktop.evaluate("[...seen]"), shown_digit(desktop)) == before


@pytest.mark.parametrize("damaged", ["#strokes=", "#strokes=..", "#image=AAAA", "#image=%", "#strokes=12", "#nothing"])
def test_a_damaged_link_opens_the_page_as_usual(desktop: Page, file: Path, damaged: str) -> None:
    desktop.goto("about:blank")
    desktop.goto(file.as_uri() + damaged)
    draw(desktop, [])
    assert desktop.evaluate("playing !== 0")


def test_a_misread_image_says_its_label_and_clear_takes_the_explanation_back(desktop: Page) -> None:
    desktop.locator("#samples .misread").first.click()
    draw(desktop, [])
    label = desktop.locator("#samples .misread").first.get_attribute("title").split(",")[0][-1]
    assert f"Misread: its label is {label}." in desktop.locator("#answer").inner_text()
    desktop.locator("#maps canvas").first.hover(position={"x": 5, "y": 5})
    draw(desktop, [])
    assert "conv1, map" in desktop.locator("#explanation").inner_text()
    assert "Point at a map." in pressed(desktop, "Clear").locator("#explanation").inner_text()


def test_the_evidence_is_painted_and_the_rival_chosen(desktop: Page) -> None:
    desktop.locator("#samples button").nth(3).click()
    desktop.get_by_label("show the evidence").check()
    desktop.wait_for_function("evidence && evidence.left.length === 0")
    assert desktop.evaluate("evidence.falls.some(([, fall]) => fall > 0)")
    desktop.locator("#chances button").nth(8).click()
    draw(desktop, [])
    assert desktop.evaluate("evidence.rival") == 8
    assert "is ahead of 8 by" in desktop.locator("#votes").inner_text()
    desktop.get_by_label("show the evidence").uncheck()
    draw(desktop, [])
    assert desktop.locator("#why").inner_text() == ""


def test_two_networks_answer_side_by_side(browser: Browser, file: Path, trained: Trained) -> None:
    both = write_page(shutil.copy(file.with_name("digits.ckpt"), file.with_name("both.ckpt")), other=trained.path)
    page = browser.new_page()
    page.goto(both.as_uri())
    page.locator("#samples button").first.click()
    draw(page, [])
    first, second = (page.locator("#chances section").nth(n).locator("b").all_inner_texts() for n in range(2))
    assert first == second
    assert len(first) == 10
    page.close()


def test_without_centring_a_digit_in_a_corner_looks_different(desktop: Page) -> None:
    desktop.get_by_role("button", name="Clear").click()
    draw(desktop, [[(20, 20), (60, 20), (40, 80)]])
    centred = desktop.evaluate("document.querySelector('#seen').toDataURL()")
    desktop.get_by_label("centre as MNIST does").uncheck()
    draw(desktop, [])
    assert desktop.evaluate("document.querySelector('#seen').toDataURL()") != centred


def test_test_images_are_answered_as_their_labels_say(desktop: Page, file: Path) -> None:
    data = json.loads(file.read_text().split("const PAGE = ")[1].split(";\n")[0])
    assert len(data["samples"]) == 20
    assert {digit["label"] for digit in data["samples"] if digit["label"] == digit["answered"]} == set(range(10))
    for button, digit in zip(desktop.locator("#samples button").all(), data["samples"], strict=True):
        button.press("Enter")
        draw(desktop, [])
        assert shown_digit(desktop) == str(digit["answered"])


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
    pool1.press("End")
    draw(page, [])
    assert "pool1, map 32, row 2, column 1" in explanation.inner_text()
    pool1.press("PageUp")
    draw(page, [])
    assert page.locator("#spoken").inner_text().startswith("pool1, map 31, row 2, column 1: ")
    pool1.press("Home")
    draw(page, [])
    cells = [float(text.replace("−", "-")) for text in explanation.locator("td").all_inner_texts()]
    winner = float(explanation.locator(".winner").inner_text().replace("−", "-"))
    assert len(cells) == 4
    assert winner == max(cells)
    assert f"{winner:.2f}" in explanation.locator("span").inner_text()


def test_nothing_is_wider_than_the_screen(page: Page) -> None:
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_all_pictures_follow_the_colours_of_the_system(desktop: Page) -> None:
    desktop.emulate_media(color_scheme="dark")
    desktop.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
    corners = desktop.evaluate("""[...document.querySelectorAll("#seen, #samples canvas")].map(
        (canvas) => canvas.getContext("2d").getImageData(0, 0, 1, 1).data[0])""")
    assert len(corners) == 21
    assert set(corners) == {0x16}  # the dark desktop's paper
