"""A view comes to show what is, however late an answer comes and whatever gets lost."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Page, Route, expect

from tests.support import RunningDaemon, make_exchange
from tests.web.conftest import EVENTS, EXCHANGES, OpenConsole

OnRoute = Callable[[Route], None]


@pytest.fixture
def quiet_console(daemon: RunningDaemon, open_console: OpenConsole) -> Page:
    """A page of this daemon whose views are still to be opened."""
    return open_console(daemon, path="/healthz")


def post(daemon: RunningDaemon, number: int) -> str:
    answer = daemon.http.post("/v1/experiences", json=make_exchange(number))
    return str(answer.json()["id"])


def in_turn(*handlers: OnRoute) -> OnRoute:
    """The first request goes to the first handler, and so on; what comes after goes through."""
    left: Iterator[OnRoute] = iter(handlers)

    def handle(route: Route) -> None:
        next(left, Route.continue_)(route)

    return handle


def test_exchange_that_comes_in_while_the_page_is_read_is_shown(
    daemon: RunningDaemon, quiet_console: Page
) -> None:
    page = quiet_console

    def answer_from_before(route: Route) -> None:
        answer = route.fetch()
        post(daemon, 1)
        route.fulfill(response=answer)

    def answer_slowly(route: Route) -> None:
        page.wait_for_timeout(1000)  # so that a list asked for beside it is answered first
        route.continue_()

    page.route("**/v1/experiences?*", in_turn(answer_from_before))
    page.route("**/stats?*", in_turn(answer_slowly))
    page.goto(EXCHANGES)
    expect(page.locator("#list > ol > li")).to_have_count(1)


def test_older_answer_that_comes_last_does_not_hide_the_newer(
    daemon: RunningDaemon, quiet_console: Page
) -> None:
    page = quiet_console
    first, second = post(daemon, 1), post(daemon, 2)

    def answer_late(route: Route) -> None:
        answer = route.fetch()
        daemon.http.delete(f"/v1/experiences/{second}")
        page.wait_for_timeout(2000)  # a reading of the second event would be answered by now
        route.fulfill(response=answer)

    page.route(
        "**/events?order=newest&progress=false&limit=30", in_turn(Route.continue_, answer_late)
    )
    page.goto(EVENTS)
    expect(page.locator("#link")).to_have_text("live")
    expect(page.locator("#feed")).to_contain_text("Nothing has happened yet")
    daemon.http.delete(f"/v1/experiences/{first}")
    expect(page.locator("#feed li")).to_have_count(2)
    page.wait_for_timeout(2500)
    expect(page.locator("#feed li")).to_have_count(2)


def test_answer_that_got_lost_is_asked_for_again(
    daemon: RunningDaemon, quiet_console: Page
) -> None:
    page = quiet_console
    erased = post(daemon, 1)
    lost: list[str] = []

    def lose(route: Route) -> None:
        lost.append(route.request.url)
        route.abort("connectionreset")

    page.route("**/events?order=newest&progress=false&limit=30", in_turn(Route.continue_, lose))
    page.goto(EVENTS)
    expect(page.locator("#link")).to_have_text("live")
    expect(page.locator("#feed")).to_contain_text("Nothing has happened yet")
    daemon.http.delete(f"/v1/experiences/{erased}")
    expect(page.locator("#feed li")).to_have_count(1)
    expect(page.get_by_role("alert")).to_have_count(0)
    assert len(lost) == 1
