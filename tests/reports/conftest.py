from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page


@pytest.fixture
def offline_page(browser: Browser) -> Iterator[Page]:
    """An empty page, as wide as a phone."""
    page = browser.new_page(viewport={"width": 390, "height": 844}, offline=True)
    yield page
    page.close()
