"""Talking in the console: words as they come, who answered, what was kept, what goes wrong."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.support import RunningDaemon, StartDaemon
from tests.web.conftest import CHAT, OpenConsole


def say(page: Page, words: str) -> None:
    """Type something and send it as people do."""
    page.locator("#words").fill(words)
    page.locator("#words").press("Enter")


@pytest.fixture
def talking(start_daemon: StartDaemon, embedded_model: Path) -> RunningDaemon:
    return start_daemon(base_model=embedded_model, chat_context_tokens=256, min_salience=0.0)


def test_conversation_is_written_compared_and_kept(
    talking: RunningDaemon, open_console: OpenConsole
) -> None:
    page = open_console(talking, path=CHAT)
    for label in page.locator("#chat label:has(input)").all():  # its box stands beside its words
        whole, box = label.bounding_box(), label.locator("input").bounding_box()
        assert whole is not None
        assert box is not None
        assert abs(whole["y"] + whole["height"] / 2 - box["y"] - box["height"] / 2) < 3
    page.get_by_label("keep what is said").check()
    say(page, "<b>Hello</b>")
    turn = page.locator(".turn")
    expect(turn.locator(".own")).to_have_text("<b>Hello</b>")  # a text, and no markup
    expect(turn.locator(".hint")).to_contain_text("the bare base, SmolLM2-135M-Instruct")
    expect(turn.locator(".hint")).to_contain_text("; kept")
    expect(page.locator("#words")).to_be_focused()
    (kept,) = talking.http.get("/v1/experiences").json()["data"]
    assert kept["prompt"] == "<b>Hello</b>"
    assert kept["response"] == turn.locator(".said").nth(1).text_content()

    page.get_by_label("beside the base").check()
    expect(page.locator(".turn")).to_have_count(0)
    say(page, "And now?")
    before = page.get_by_label("the checkpoint before").locator(".wrong")
    expect(before).to_have_text("default has no checkpoint before its current one.")
    for who in ("the bare base", "what is live"):
        expect(page.get_by_label(who, exact=True).locator(".turn .hint")).to_contain_text(
            "bare base,"
        )
    prompts = {one["prompt"] for one in talking.http.get("/v1/experiences").json()["data"]}
    assert prompts == {"<b>Hello</b>", "And now?"}  # what is live alone is kept
    page.get_by_role("button", name="New conversation").click()
    expect(page.locator("#talks .empty")).to_have_count(3)


def test_reply_can_be_stopped_and_the_next_one_asked_for(
    talking: RunningDaemon, open_console: OpenConsole
) -> None:
    page = open_console(talking, path=CHAT)
    say(page, "Count to ten thousand, slowly, each number in a sentence of its own.")
    page.get_by_role("button", name="Stop").click()  # while the model is loaded: it cannot be done
    expect(page.locator(".turn .hint")).to_have_text("stopped")
    say(page, "Hi.")
    expect(page.locator(".turn .hint").last).to_contain_text("the bare base")
    expect(page.locator(".turn .own").last).to_have_text("Hi.")
    expect(page.get_by_role("button", name="Send")).to_be_visible()


@pytest.mark.daemon(base_model="/nowhere/garden-model")
def test_what_cannot_answer_says_why(daemon: RunningDaemon, open_console: OpenConsole) -> None:
    page = open_console(daemon, path=CHAT)
    say(page, "Hello?")
    expect(page.locator(".turn .wrong")).to_contain_text("garden-model is not on this machine")
    expect(page.get_by_role("button", name="Send")).to_be_visible()


def test_conversation_goes_on_without_its_oldest_turns_where_it_is_full(
    talking: RunningDaemon, open_console: OpenConsole
) -> None:
    page = open_console(talking, path=CHAT)
    for number in range(2):
        say(page, f"Say {number} and no more. " + "word " * 110)
        expect(page.locator(".turn .hint").nth(number)).to_contain_text("the bare base")
    expect(page.locator(".wrong")).to_have_count(0)
