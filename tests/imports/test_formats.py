"""Each format from a file that people have; long, for there are many, and each can be broken."""

from __future__ import annotations

import json
import zipfile
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from app.errors import InvalidImportFile
from app.imports.formats import READERS, Format
from app.imports.reading import Fault, Found, Wanted, read_file
from app.imports.times import Clock
from app.services.importing import ImportReport, look_into_file

FILES = Path(__file__).parent / "files"

COUNTS: dict[str, tuple[Format, int, list[str]]] = {
    "export.jsonl": (Format.EXPORT, 2, []),
    "experience_buffer.json": (Format.EXCHANGE, 2, []),
    "experience_buffer_rs.jsonl": (Format.EXCHANGE, 1, []),
    "exchanges.jsonl": (Format.EXCHANGE, 3, []),
    "openai.jsonl": (Format.OPENAI, 4, ["line 4: holds no reply to a prompt"]),
    "openai.json": (Format.OPENAI, 2, []),
    "sharegpt.json": (Format.SHAREGPT, 3, ["record 2: a turn is from nobody known"]),
    "alpaca.json": (Format.ALPACA, 3, ["record 3: the reply has no text"]),
    "chatgpt.json": (Format.CHATGPT, 2, ["record 1: holds no reply to a prompt"]),
    "open-webui.json": (Format.OPEN_WEBUI, 2, []),
    "claude.json": (Format.CLAUDE, 1, []),
    "session_044.json": (Format.TRANSCRIPT, 2, []),
    "autonomous_s092.json": (Format.TRANSCRIPT, 2, []),
    "T206.json": (Format.TRANSCRIPT, 2, []),
    "chat_history.jsonl": (Format.TRANSCRIPT, 2, []),
}


def read(path: Path, **wanted: Any) -> tuple[list[Found], list[str]]:
    found = list(read_file(path, Wanted(**wanted), Clock(UTC)))
    return [item for item in found if isinstance(item, Found)], [
        f"{item.place}: {item.problem}" for item in found if isinstance(item, Fault)
    ]


def exchanges(name: str, **wanted: Any) -> list[dict[str, Any]]:
    return [item.values for item in read(FILES / name, **wanted)[0]]


def write(path: Path, value: Any) -> Path:
    path.write_text(json.dumps(value))
    return path


@pytest.mark.parametrize("name", COUNTS)
def test_each_file_gives_what_it_holds(name: str) -> None:
    format_, count, faults = COUNTS[name]
    found, problems = read(FILES / name)
    assert [item.format for item in found] == [format_] * count
    assert [problem.partition(" (")[0] for problem in problems] == faults
    report = ImportReport()
    look_into_file(FILES / name, Wanted(), report)  # each is an exchange that would be taken
    assert (report.found, report.broken_count) == (count, len(faults))


@pytest.mark.parametrize("name", COUNTS)
def test_format_that_is_named_reads_the_same(name: str) -> None:
    format_, count, _ = COUNTS[name]
    assert len(read(FILES / name, format=format_)[0]) == count


def test_every_format_has_a_file() -> None:
    assert {format_ for format_, _, _ in COUNTS.values()} == set(Format) == set(READERS)


def test_all_files_are_counted() -> None:
    assert {path.name for path in FILES.iterdir()} - COUNTS.keys() == {
        "letters.jsonl",
        "unknown.json",
    }


def test_unknown_file_is_refused_with_what_can_be_read() -> None:
    with pytest.raises(InvalidImportFile) as caught:
        look_into_file(FILES / "unknown.json", Wanted(), ImportReport())
    message = caught.value.message
    assert "record 0: no format is known with the fields speaker_id, waveform" in message
    for name, reader in READERS.items():
        assert f"  {name}: {reader.words}" in message


def test_wrong_format_that_is_named_is_refused() -> None:
    with pytest.raises(InvalidImportFile, match="is not of the format chatgpt"):
        look_into_file(FILES / "alpaca.json", Wanted(format=Format.CHATGPT), ImportReport())


def test_several_turns_become_one_exchange_for_each_reply_with_what_was_before() -> None:
    first, second = exchanges("openai.jsonl")[:2]
    assert (first["prompt"], first["response"], first["history"]) == ("Hello.", "Hello to you.", [])
    assert second["history"] == [
        {"role": "user", "content": "Hello."},
        {"role": "assistant", "content": "Hello to you."},
    ]
    assert first["system_prompt"] == second["system_prompt"] == "You are brief."


def test_tools_are_kept_with_the_reply_that_they_were_called_for() -> None:
    called = {
        name: [call for values in exchanges(name) for call in values["tool_calls"]]
        for name in COUNTS
    }
    assert called["openai.jsonl"] == [
        {
            "name": "get_time",
            "arguments": {"zone": "UTC"},
            "success": True,
            "result": {"time": "10:00"},
        }
    ]
    assert [(c["name"], c["success"]) for c in called["sharegpt.json"]] == [
        ("get_weather", False),
        ("add", True),
    ]
    assert called["chatgpt.json"][0]["result"] == "7"
    assert called["open-webui.json"][0]["arguments"] == {"pot": 2}
    assert called["claude.json"][0]["result"] == "round"
    assert called["export.jsonl"][0]["name"] == "read_diary"
    assert called["experience_buffer.json"][0]["result"] == "no such page"


def test_branch_that_its_user_left_is_not_read() -> None:
    for name in ("chatgpt.json", "open-webui.json"):
        said = [values["response"] for values in exchanges(name)]
        assert not any("made again" in text or "Left behind" in text for text in said)


def test_tree_without_its_current_node_is_read_to_the_end_of_its_newest_branch(
    tmp_path: Path,
) -> None:
    (conversation, _) = json.loads((FILES / "chatgpt.json").read_text())
    for lost in ("gone", None):
        path = write(tmp_path / "lost.json", [{**conversation, "current_node": lost}])
        assert [f.values["response"] for f in read(path)[0]] == ["It is basil.", "Seven, as far as"]


def test_tree_that_turns_on_itself_is_named(tmp_path: Path) -> None:
    (conversation, _) = json.loads((FILES / "chatgpt.json").read_text())
    conversation["mapping"]["root"]["parent"] = "n9"
    assert read(write(tmp_path / "ring.json", [conversation]))[1] == [
        "record 0: its messages stand in no tree"
    ]


def test_cut_reply_and_its_source_are_told() -> None:
    cut = exchanges("chatgpt.json")[1]
    assert cut["finish_reason"] == "length"
    assert cut["metadata"]["left_out"] == ["image_asset_pointer"]
    assert cut["metadata"]["model"] == "o3"
    assert exchanges("export.jsonl")[1]["finish_reason"] == "length"


def test_custom_instructions_and_system_prompts_are_kept() -> None:
    prompts = {name: exchanges(name)[0].get("system_prompt") for name in COUNTS}
    assert prompts["chatgpt.json"] == "I keep herbs.\n\nBe brief."
    assert prompts["open-webui.json"] == "You know herbs."
    assert prompts["sharegpt.json"] == "You are kind."
    assert exchanges("alpaca.json")[2]["system_prompt"] == "You tell stories."
    assert prompts["session_044.json"] is None  # the instance's


def test_reasoning_is_written_as_models_write_it() -> None:
    said = exchanges("open-webui.json")[0]["response"]
    assert said == "<think>\nBasil has no fronds.\nSo no fern.\n</think>\n\nNo, it is basil."
    assert exchanges("openai.jsonl")[2]["response"].startswith("<think>\nGreen, with fronds.")


def test_reply_with_weight_0_is_history_and_no_exchange() -> None:
    (_, _, _, last) = exchanges("openai.jsonl")
    assert last["prompt"] == "Say something."
    assert last["history"][-1]["content"] == "Not to be learned."


def test_sessions_keep_their_number_phase_and_machine() -> None:
    values = exchanges("session_044.json")[1]
    assert (values["session"], values["session_number"], values["phase"]) == ("44", 44, "creating")
    assert values["metadata"]["machine"] == "sprout"
    assert exchanges("T206.json")[0]["session"] == "T206"


def test_speaker_whom_nobody_knows_is_the_model_when_named() -> None:
    _, (problem,) = read(FILES / "letters.jsonl")
    assert "dp, sprout-being" in problem
    assert "--assistant" in problem
    (values,) = exchanges("letters.jsonl", models=("Sprout-Being",))
    assert (values["prompt"], values["response"]) == ("How is it going?", "The beat is ending.")


def test_times_are_read_and_those_without_a_zone_counted() -> None:
    clock = Clock(ZoneInfo("America/Los_Angeles"))
    found = list(read_file(FILES / "experience_buffer.json", Wanted(), clock))
    assert isinstance(found[0], Found)
    at = found[0].values["occurred_at"]
    assert at.astimezone(UTC) == datetime(2026, 7, 18, 7, 10, 43, 92734, tzinfo=UTC)
    assert clock.naive == 2
    assert exchanges("chat_history.jsonl")[0]["occurred_at"].year == 2026


@pytest.mark.parametrize(
    ("written", "instant"),
    [
        ("Sun, 18 Jan 2026 00:10:43 +0100", "2026-01-17T23:10:43+00:00"),
        ("Sun, 18 Jan 2026 00:10:43 GMT", "2026-01-18T00:10:43+00:00"),
        ("Sun Jan 18 00:10:43 2026", "2026-01-18T08:10:43+00:00"),
        ("2026/01/18 00:10:43", "2026-01-18T08:10:43+00:00"),
        ("20260118001043", "2026-01-18T08:10:43+00:00"),
        ("20260118-001043", "2026-01-18T08:10:43+00:00"),
        ("Sun, 18 Jan 2026 00:10:43 -0000 (UTC)", "2026-01-18T00:10:43+00:00"),
        ("18 Jan 2026 00:10 EST", "2026-01-18T05:10:00+00:00"),
        ("1768695043000", "2026-01-18T00:10:43+00:00"),
        (1768695043000, "2026-01-18T00:10:43+00:00"),
        (20260118001043, "2026-01-18T08:10:43+00:00"),
        (20260118, "2026-01-18T08:00:00+00:00"),
    ],
)
def test_times_of_mail_of_c_and_in_digits_are_read(written: str | int, instant: str) -> None:
    read = Clock(ZoneInfo("America/Los_Angeles")).read(written)
    assert read is not None
    assert read.astimezone(UTC).isoformat() == instant


@pytest.mark.parametrize(
    "written",
    [
        "January 18, 2026 3:04 PM", "01/02/2026", "18.01.2026 00:10",
        "Sun, 18 Jan 2026 00:10:43 CET", "20261318", 20261318,
    ],
)  # fmt: skip
def test_time_that_would_be_guessed_at_is_refused(written: str | int) -> None:
    with pytest.raises(ValueError, match="write ISO 8601"):
        Clock(UTC).read(written)


def read_text(tmp_path: Path, name: str, text: str) -> list[Found]:
    (tmp_path / name).write_text(text)
    found = list(read_file(tmp_path / name, Wanted(), Clock(UTC)))
    assert all(isinstance(one, Found) for one in found), found
    return [one for one in found if isinstance(one, Found)]


@pytest.mark.parametrize("shape", ["a list", "lists in a list", "a message a line"])
def test_message_that_only_calls_a_tool_may_lack_content(tmp_path: Path, shape: str) -> None:
    call = {"id": "c", "type": "function", "function": {"name": "weather", "arguments": "{}"}}
    messages = [
        {"role": "user", "content": "How warm is it?"},
        {"role": "assistant", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c", "content": "3"},
        {"role": "assistant", "content": "Three degrees."},
    ]
    text = {
        "a list": json.dumps(messages),
        "lists in a list": json.dumps([messages]),
        "a message a line": "\n".join(map(json.dumps, messages)),
    }[shape]
    (found,) = read_text(tmp_path, "messages.jsonl" if "line" in shape else "messages.json", text)
    assert (found.values["prompt"], found.values["response"]) == (
        "How warm is it?",
        "Three degrees.",
    )
    assert [(call["name"], call["result"]) for call in found.values["tool_calls"]] == [
        ("weather", "3")
    ]


@pytest.mark.parametrize(
    "turns",
    [
        [{"user": "Hi?", "assistant": "Hello."}, {"user": "And?", "assistant": "More."}],
        [
            {"role": "user", "value": "Hi?"},
            {"role": "assistant", "value": "Hello."},
            {"role": "user", "value": "And?"},
            {"role": "assistant", "value": "More."},
        ],
    ],
)
def test_conversations_may_have_their_turns_in_other_words(
    tmp_path: Path, turns: list[dict[str, str]]
) -> None:
    for text in (json.dumps([{"conversations": turns}]), json.dumps({"conversations": turns})):
        found = read_text(tmp_path, "turns.json", text)
        assert [one.values["prompt"] for one in found] == ["Hi?", "And?"]
        assert len(found[1].values["history"]) == 2


def test_conversations_that_are_records_of_their_own_have_no_history(tmp_path: Path) -> None:
    records = [{"prompt": "One?", "response": "1"}, {"prompt": "Two?", "response": "2"}]
    found = read_text(tmp_path, "records.json", json.dumps({"conversations": records}))
    assert [one.values.get("history") for one in found] == [None, None]


@pytest.mark.parametrize(
    ("begins", "ends"),
    [
        ('<details type="reasoning">', "</details>"),
        ('<details type="reasoning" ', ""),
        ('<details type="tool_calls" ' + "a" * 80_000 + "></details>", ""),
        ("<tool_call>{", "}</tool_call>"),
        ("<tool_call>", ""),
    ],
)
def test_marks_are_looked_through_once(tmp_path: Path, begins: str, ends: str) -> None:
    """Ten thousands without an end, each looked through to the text's, took minutes."""
    reply = begins * max(1, 1_000_000 // len(begins)) + "Done."
    message = {"id": "a", "parentId": "u", "childrenIds": [], "role": "assistant", "content": reply}
    asked = {"id": "u", "parentId": None, "childrenIds": ["a"], "role": "user", "content": "Q?"}
    chat = {"history": {"currentId": "a", "messages": {"u": asked, "a": message}}}
    turns = [{"role": "user", "content": "Q?"}, {"role": "assistant", "content": reply + ends}]
    records = [{"chat": chat}, {"messages": turns}]
    found = read_text(tmp_path, "marks.json", json.dumps(records))
    assert ["Done." in one.values["response"] for one in found] == [True, True]


def test_long_conversation_keeps_the_turns_nearest_to_each_reply(tmp_path: Path) -> None:
    turns = [
        {"role": role, "content": f"{number} " + "word " * 200}
        for number in range(120)
        for role in ("user", "assistant")
    ]
    found, _ = read(write(tmp_path / "long.json", {"messages": turns}))
    assert len(found) == 120
    history = found[-1].values["history"]
    assert sum(len(turn["content"]) for turn in history) <= 32_768
    assert history[-1]["content"].startswith("118 ")
    assert history[0]["role"] == "user"
    short = [{"role": r, "content": "a"} for _ in range(300) for r in ("user", "assistant")]
    found, _ = read(write(tmp_path / "many.json", {"messages": short}))
    assert len(found[-1].values["history"]) == 200


def test_turn_that_no_history_can_hold_leaves_the_next_replies_whole(tmp_path: Path) -> None:
    turns = [
        {"role": "user", "content": "x" * 70_000},
        {"role": "assistant", "content": "Too long to answer."},
        {"role": "user", "content": "Shorter."},
        {"role": "assistant", "content": "Yes."},
    ]
    path = write(tmp_path / "huge.json", {"messages": turns})
    report = ImportReport()
    look_into_file(path, Wanted(), report)
    assert report.found == 1
    assert [(str(b.place), b.pointer) for b in report.broken] == [("record 0, reply 0", "/prompt")]
    assert read(path)[0][-1].values["history"] == []


def test_tool_result_that_no_exchange_can_hold_is_cut(tmp_path: Path) -> None:
    deep: Any = 1
    for _ in range(12):
        deep = {"a": deep}
    turns = [
        {"role": "user", "content": "Read."},
        {"role": "assistant", "content": None, "function_call": {"name": "r", "arguments": deep}},
        {"role": "function", "name": "r", "content": "\x1b" * 100_000},
        {"role": "assistant", "content": "Done."},
    ]
    report = ImportReport()
    path = write(tmp_path / "tools.json", {"messages": turns})
    look_into_file(path, Wanted(), report)
    assert (report.found, report.broken) == (1, [])
    (call,) = read(path)[0][0].values["tool_calls"]
    assert call["result"].endswith("…")
    assert call["arguments"]["value"].startswith('{"a"')


@pytest.mark.parametrize(
    ("record", "problem"),
    [
        ({"messages": [{"role": "wizard", "content": "a"}]}, "no role that is known"),
        ({"messages": [{"role": "user", "content": 3}]}, "neither text nor a list"),
        ({"messages": ["a", {"role": "user", "content": "a"}]}, "a message is no object"),
        (
            {
                "messages": [
                    {"role": "user", "content": [{"type": "image_url"}]},
                    {"role": "assistant", "content": "A fern."},
                ]
            },
            "the prompt has no text beside image_url",
        ),
        (
            {
                "messages": [
                    {"role": "user", "content": "a"},
                    {"role": "assistant", "tool_calls": [{"function": {"name": "f"}}]},
                ]
            },
            "the reply has no text beside tool calls",
        ),
        ({"instruction": "a", "output": 3}, "output is no text"),
        ({"prompt": "a", "response": "b", "tool_calls": [3]}, "a tool call is no object"),
        ({"prompt": "a", "response": "b", "timestamp": "yesterday"}, "is no time"),
        ({"prompt": "a", "response": "b", "timestamp": [1]}, "neither text nor a number"),
        ({"chat_messages": [{"sender": "cat", "text": "a"}]}, "neither human nor assistant"),
        ({"chat": {"messages": [{"role": "cat", "content": "a"}]}}, "no role that is known"),
        ({"mapping": {}}, "holds no reply"),
        ({"conversation": [], "session": 4}, "holds no reply"),
        (
            {
                "messages": [
                    {"role": "user", "content": "a"},
                    {"role": "assistant", "content": "b", "finish_reason": []},
                ]
            },
            "a field of it is not as openai has it",
        ),
        (3, "the record is not an object"),
    ],
)
def test_record_that_is_no_exchange_is_named_without_its_words(
    tmp_path: Path, record: Any, problem: str
) -> None:
    path = write(tmp_path / "odd.json", [record, {"prompt": "A tree.", "response": "An oak."}])
    found, problems = read(path)
    assert [item.values["prompt"] for item in found] == ["A tree."]
    assert len(problems) == 1
    assert problems[0].startswith("record 0")
    assert problem in problems[0]


def test_formats_may_stand_side_by_side(tmp_path: Path) -> None:
    lines = [
        line
        for name in ("exchanges.jsonl", "openai.jsonl")
        for line in (FILES / name).read_text().splitlines()
    ]
    lines.append(json.dumps(json.loads((FILES / "session_044.json").read_text())))
    path = tmp_path / "mixed.jsonl"
    path.write_text("\n".join(lines))
    found, problems = read(path)
    assert Counter(item.format for item in found) == {
        Format.EXCHANGE: 3,
        Format.OPENAI: 4,
        Format.TRANSCRIPT: 2,
    }
    assert problems == ["line 7: holds no reply to a prompt"]


def test_zip_of_chatgpt_is_read_and_what_else_it_holds_is_not(tmp_path: Path) -> None:
    path = tmp_path / "export.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(FILES / "chatgpt.json", "export/conversations.json")
        archive.writestr("export/user.json", '{"email": "a@b.example"}')
        archive.writestr("export/chat.html", "<html>")
    found, problems = read(path)
    assert len(found) == 2
    assert problems == ["export/conversations.json record 1: holds no reply to a prompt"]


def test_zip_of_other_files_is_read_file_by_file(tmp_path: Path) -> None:
    path = tmp_path / "sessions.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for name in ("session_044.json", "autonomous_s092.json", "openai.jsonl"):
            archive.write(FILES / name, name)
    assert len(read(path)[0]) == 8


def test_instant_out_of_range_is_one_broken_record(tmp_path: Path) -> None:
    records = [
        {"prompt": f"{n}", "response": "a", "timestamp": at}
        for n, at in enumerate(
            [
                "0001-01-01T00:00:00+14:00",
                1e300,
                "2026-01-18T00:10:43Z",
                1768694443123,
                "1768694443",
            ]
        )
    ]
    report = ImportReport()
    path = write(tmp_path / "times.json", records)
    look_into_file(path, Wanted(), report)
    assert [broken.place.index for broken in report.broken] == [0, 1]
    assert [f.values["occurred_at"].year for f in read(path)[0][1:]] == [2026, 2026, 2026]
