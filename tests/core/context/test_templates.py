"""Prompt templates: what each family gets, the user's own files, and how much is added."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.chat import ChatRequest, JsonSchemaFormat, Message, Side, Tool
from core.context.templates import FAMILIES, MAX_TEMPLATE_BYTES, PACKAGED_FOLDER, Templates, family_of
from core.errors import InvalidRequest

SCHEMA = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "age": {"type": "integer"}},
    "required": ["name", "age"],
}
SCHEMA_TEXT = json.dumps(SCHEMA, separators=(",", ":"))
WEATHER = Tool(name="weather", description="The weather of a city", parameters={"type": "object"})


def request_with(
    *, system: str | None = None, schema: bool = False, tools: tuple[Tool, ...] = ()
) -> ChatRequest:
    return ChatRequest.from_prompt(
        "Who is it?",
        system=system,
        tools=tools,
        response_format=JsonSchemaFormat(schema=SCHEMA) if schema else None,
    )


def write(folder: Path, family: str, text: str) -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / f"{family}.toml"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("model", "side", "family"),
    [
        ("claude-sonnet-4-6-20260501", "api", "claude"),
        ("Claude-Opus-5", "api", "claude"),
        ("anthropic/claude-haiku-4-5", "api", "claude"),
        ("us.anthropic.claude-opus-5-v1:0", "api", "claude"),
        ("claude-opus-5", "local", "claude"),
        ("qwen3-8b-claude-distill", "local", "llama"),
        ("meta-llama/Llama-3.1-8B-Instruct", "local", "llama"),
        ("Qwen/Qwen2.5-7B-Instruct", "local", "llama"),
        ("mistralai/Mixtral-8x7B", "local", "llama"),
        ("google/gemma-3-4b-it", "local", "llama"),
        ("/models/SmolLM2-135M-Instruct.Q4_1.gguf", "local", "llama"),
        ("C:\\models\\Ministral-3B.gguf", "local", "llama"),
        ("microsoft/phi-4", "local", "llama"),
        ("llama-3-70b", "api", "llama"),
        ("tiny", "local", "default"),
        ("gpt-next", "api", "default"),
        ("dolphin", "local", "default"),
        ("", "api", "default"),
        (None, "local", "default"),
    ],
)
def test_a_models_family(model: str | None, side: Side, family: str) -> None:
    assert family_of(model, side) == family


@pytest.mark.parametrize("family", [*FAMILIES, "unheard-of"])
def test_a_plain_request_goes_out_as_it_is(family: str) -> None:
    request = request_with()
    rendered = Templates().render(request, family)
    assert rendered.request is request
    assert rendered.added_bytes == 0
    assert rendered.template == (family if family in FAMILIES else "default")


@pytest.mark.parametrize("family", FAMILIES)
def test_a_system_prompt_and_tools_alone_go_out_as_they_are(family: str) -> None:
    request = request_with(system="Be brief.\n", tools=(WEATHER,))
    assert Templates().render(request, family).request is request


def test_claude_is_told_the_schema_only_where_its_api_takes_none() -> None:
    request = request_with(system="Be brief.", schema=True)
    assert Templates().render(request, "claude").request is request
    asked = Templates().render(request, "claude", schema_enforced=False)
    assert asked.request.system == (
        "<instructions>\nBe brief.\n</instructions>\n\n<output_format>\nAnswer with one JSON value that matches "
        "this JSON schema. Write nothing before or after it, and no code fence.\n"
        + SCHEMA_TEXT
        + "\n</output_format>"
    )
    assert asked.request.messages == request.messages
    assert asked.request.response_format == request.response_format, "the answer is still checked against it"


def test_llama_style_models_are_told_the_schema_in_short_sentences() -> None:
    request = request_with(system="Be brief.", schema=True)
    enforced = Templates().render(request, "llama").request.system
    assert enforced == "Be brief.\n\nAnswer in JSON."
    asked = Templates().render(request, "llama", schema_enforced=False).request.system
    assert asked == f"Be brief.\n\nAnswer only with JSON, no other text. The JSON schema is:\n{SCHEMA_TEXT}"
    alone = Templates().render(request_with(schema=True), "llama").request.system
    assert alone == "Answer in JSON."


def test_the_same_request_is_phrased_for_each_family() -> None:
    request = request_with(system="Be brief.", schema=True)
    phrased = {
        family: Templates().render(request, family, schema_enforced=False).request.system
        for family in FAMILIES
    }
    assert len(set(phrased.values())) == 3
    assert all(text is not None and "Be brief." in text and SCHEMA_TEXT in text for text in phrased.values())


def test_tools_are_introduced_where_the_server_does_not() -> None:
    rendered = Templates().render(request_with(tools=(WEATHER,)), "llama", tools_introduced=False)
    assert rendered.request.system == (
        'You can call these functions:\n{"name":"weather","description":"The weather of a city",'
        '"parameters":{"type":"object"}}'
    )


@pytest.mark.parametrize(
    ("family", "enforced", "most_bytes"),
    [("claude", False, 210), ("llama", True, 17), ("llama", False, 70), ("default", False, 90)],
)
def test_the_packaged_templates_add_little(family: str, enforced: bool, most_bytes: int) -> None:
    """Besides the schema itself; at 3.8 bytes a token 210 bytes are 55 tokens, 0.02 cents of Sonnet."""
    request = request_with(system="Be brief.", schema=True)
    rendered = Templates().render(request, family, schema_enforced=enforced)
    assert 0 < rendered.added_bytes - (0 if enforced else len(SCHEMA_TEXT)) <= most_bytes


def test_slots_in_what_is_filled_in_are_only_text() -> None:
    request = request_with(system="Keep {schema} and {system} {tools} as they are.", schema=True)
    system = Templates().render(request, "claude", schema_enforced=False).request.system or ""
    assert "Keep {schema} and {system} {tools} as they are." in system
    assert system.count(SCHEMA_TEXT) == 1


def test_a_schema_that_is_no_json_is_the_callers_fault() -> None:
    request = ChatRequest.from_prompt("x", response_format=JsonSchemaFormat(schema={"enum": {1, 2}}))
    with pytest.raises(InvalidRequest, match="The JSON schema is no JSON"):
        Templates().render(request, "llama")


# --- The user's own ------------------------------------------------------------------------------------------


def test_the_users_template_lies_over_the_packaged_one(tmp_path: Path) -> None:
    folder = tmp_path / "templates"
    write(folder, "claude", '[style]\ntext = "Answer in German, in at most five sentences."\n')
    templates = Templates(folder)
    rendered = templates.render(request_with(), "claude")
    assert rendered.template == "claude (yours)"
    assert rendered.request.system == "Answer in German, in at most five sentences."
    assert rendered.added_bytes == len("Answer in German, in at most five sentences.")
    framed = templates.render(request_with(system="Be kind."), "claude").request.system
    assert framed == (
        "<instructions>\nBe kind.\n</instructions>\n\nAnswer in German, in at most five sentences."
    )
    assert templates.render(request_with(), "llama").template == "llama"
    assert templates.problems() == ()


def test_a_change_counts_within_a_second(tmp_path: Path) -> None:
    now = 0.0
    templates = Templates(tmp_path, clock=lambda: now)
    assert templates.render(request_with(), "llama").template == "llama"
    path = write(tmp_path, "llama", '[style]\ntext = "One."')
    now = 0.9
    assert templates.render(request_with(), "llama").template == "llama"
    now = 1.0
    assert templates.render(request_with(), "llama").request.system == "One."
    write(tmp_path, "llama", '[style]\ntext = "Two."')
    os.utime(path, ns=(1, 1))
    now = 2.0
    assert templates.render(request_with(), "llama").request.system == "Two."
    write(tmp_path, "llama", "[style")
    os.utime(path, ns=(2, 2))
    assert [problem.path for problem in templates.problems()] == [path]
    now = 3.0
    assert templates.render(request_with(), "llama").template == "llama"
    path.unlink()
    assert templates.problems() == ()
    now = 4.0
    assert templates.render(request_with(), "llama").template == "llama"


def test_the_name_is_that_of_the_template_that_renders(tmp_path: Path) -> None:
    write(tmp_path, "claude", '[style]\ntext = "One."')
    templates = Templates(tmp_path)
    for family in (*FAMILIES, "unheard of"):
        assert templates.name_of(family) == templates.render(request_with(), family).template
    assert templates.name_of("claude") == "claude (yours)"


def test_every_packaged_template_may_be_copied_as_ones_own(tmp_path: Path) -> None:
    for family in FAMILIES:
        write(tmp_path, family, (PACKAGED_FOLDER / f"{family}.toml").read_text(encoding="utf-8"))
    templates = Templates(tmp_path)
    assert templates.problems() == ()
    request = request_with(system="Be brief.", schema=True)
    for family in FAMILIES:
        own = templates.render(request, family, schema_enforced=False)
        assert own.template == f"{family} (yours)"
        assert own.request == Templates().render(request, family, schema_enforced=False).request


@pytest.mark.parametrize(
    ("content", "what"),
    [
        ("[system", "it is no TOML"),
        ('[system]\nalone = "nothing"', "[system] alone needs {system} exactly once, and has it 0 times"),
        ('[system]\nframed = "{system}{system}"', "has it 2 times"),
        ('[schema]\nasked = ""', "[schema] asked needs {schema} exactly once"),
        ("[style]\ntext = 5", "[style] text is no text"),
        ('[style]\ncolour = "red"', "there is no entry [style] colour"),
        ('[extras]\ntext = "x"', "there is no entry [extras] text"),
        ('style = "x"', "style is no section"),
        ("a = " + "[" * 5000, "it is no TOML"),
        ("#" * (MAX_TEMPLATE_BYTES + 1), "it is larger than 65.5 KB"),
    ],
)
def test_a_bad_file_is_named_and_the_packaged_one_is_used(tmp_path: Path, content: str, what: str) -> None:
    path = write(tmp_path, "claude", content)
    templates = Templates(tmp_path)
    request = request_with(system="Be brief.", schema=True)
    assert templates.render(request, "claude").template == "claude"
    (problem,) = templates.problems()
    assert problem.path == path
    assert what in problem.what


def test_what_is_no_text_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "claude.toml").mkdir()
    (tmp_path / "llama.toml").write_bytes(b"\xff\xfe\x00")
    os.mkfifo(tmp_path / "default.toml")
    write(tmp_path, "qwen", "")
    templates = Templates(tmp_path)
    for family in FAMILIES:
        assert templates.render(request_with(), family).template == family
    assert [(problem.path.name, problem.what) for problem in templates.problems()] == [
        ("claude.toml", "it can't be read: it is a folder, not a file"),
        ("default.toml", "it can't be read: it is a named pipe (FIFO), not a file"),
        ("llama.toml", "it is no UTF-8 text"),
        ("qwen.toml", "there is no family of this name; the families are claude, llama, default"),
    ]


def test_a_folder_that_is_not_there_is_no_problem(tmp_path: Path) -> None:
    assert Templates(tmp_path / "none").problems() == ()
    assert Templates(None).problems() == ()
    (tmp_path / "file").write_text("")
    templates = Templates(tmp_path / "file")
    assert templates.render(request_with(), "claude").template == "claude"
    assert len(templates.problems()) == 1


def input_bytes(request: ChatRequest) -> int:
    """Everything of a request that a model reads, as UTF-8; ``messages`` never change."""
    return len((request.system or "").encode("utf-8", "surrogatepass"))


texts = st.text(max_size=80)
sections = st.builds(lambda before, after: (before, after), texts, texts)


@settings(max_examples=150, deadline=None)
@given(
    system=st.one_of(st.none(), texts),
    title=texts,
    tools=st.lists(texts, max_size=3),
    family=st.sampled_from(FAMILIES),
    enforced=st.booleans(),
    introduced=st.booleans(),
    own=st.one_of(st.none(), st.tuples(sections, sections, sections, texts)),
)
def test_added_bytes_bound_what_was_added(
    tmp_path_factory: pytest.TempPathFactory,
    system: str | None,
    title: str,
    tools: list[str],
    family: str,
    enforced: bool,
    introduced: bool,
    own: tuple[tuple[str, str], tuple[str, str], tuple[str, str], str] | None,
) -> None:
    folder = tmp_path_factory.mktemp("templates")
    if own is not None:
        framed, asked, listed, style = own
        write(
            folder,
            family,
            f"[system]\nframed = {quoted(framed[0] + '{system}' + framed[1])}\n"
            f"[schema]\nenforced = {quoted(asked[1] + '{schema}')}\nasked = {quoted(asked[0] + '{schema}')}\n"
            f"[tools]\nlisted = {quoted(listed[0] + '{tools}' + listed[1])}\n"
            f"[style]\ntext = {quoted(style)}\n",
        )
    request = ChatRequest(
        messages=(Message(role="user", text="x"),),
        system=system,
        tools=tuple(Tool(name=name, description=name, parameters={"title": name}) for name in tools),
        response_format=JsonSchemaFormat(schema={"title": title}),
    )
    templates = Templates(folder)
    rendered = templates.render(request, family, schema_enforced=enforced, tools_introduced=introduced)
    assert input_bytes(rendered.request) <= input_bytes(request) + rendered.added_bytes
    assert rendered.added_bytes <= max(0, input_bytes(rendered.request) - input_bytes(request))
    if system and system.strip():
        assert system in (rendered.request.system or "")
    assert (rendered.request.messages, rendered.request.tools) == (request.messages, request.tools)


def quoted(text: str) -> str:
    """A TOML string: JSON's escapes are TOML's, but for DEL and surrogates."""
    clean = "".join(char for char in text if not "\ud800" <= char <= "\udfff" and char != "\x7f")
    return json.dumps(clean, ensure_ascii=False)
