"""A hand at the page: it draws with a mouse or a finger, presses buttons, and reads the answer."""

from playwright.sync_api import Page


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


def pressed(page: Page, button: str) -> Page:
    page.get_by_role("button", name=button, exact=True).click()
    draw(page, [])
    return page
