"""JSON schemas on their way through the SDK's own rewriting: what it stumbles over is no outage."""

from __future__ import annotations

from anthropic import transform_schema

from core.chat import ChatRequest, JsonSchemaFormat
from core.providers.anthropic_wire import count_arguments
from core.providers.claude_models import claude_family

MODEL = "claude-sonnet-4-6-20260501"


def sent(schema: dict[str, object]) -> dict[str, object]:
    request = ChatRequest.from_prompt("hi", response_format=JsonSchemaFormat(schema=schema))
    arguments = count_arguments(request, MODEL, claude_family(MODEL), adapt_schema=transform_schema)
    return arguments["output_config"]["format"]["schema"]


def test_a_property_of_two_types_is_either_of_them() -> None:
    schema = sent(
        {
            "type": "object",
            "properties": {"name": {"type": ["string", "null"], "description": "who"}},
            "required": ["name"],
        }
    )
    properties = schema["properties"]
    assert isinstance(properties, dict)
    assert properties["name"] == {"description": "who", "anyOf": [{"type": "string"}, {"type": "null"}]}


def test_a_property_that_is_called_type_stays_one() -> None:
    schema = sent({"type": "object", "properties": {"type": {"type": "string"}}, "required": ["type"]})
    assert schema["properties"] == {"type": {"type": "string"}}
