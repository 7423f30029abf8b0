"""A server with everything that the official conformance suite asks a server for.

The names and texts are the suite's: its scenarios look for exactly these.
Source: npm @modelcontextprotocol/conformance 0.1.16, server scenarios.
"""

from typing import Any

import anyio
import mcp_types as types
from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel.server import Server
from mcp.shared.message import ServerMessageMetadata

Context = ServerRequestContext[Any, Any]
PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk" + (
    "+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
SILENCE = "UklGRiQAAABXQVZFZm10IBAAAAABAAEAQB8AAIA+AAACABAAZGF0YQAAAAA="
EMPTY: dict[str, Any] = {"type": "object", "properties": {}}


def _texts(*names: str) -> dict[str, Any]:
    properties = {name: {"type": "string"} for name in names}
    return {"type": "object", "properties": properties, "required": list(names)}


SCHEMA_2020 = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "$defs": {
        "address": {
            "type": "object",
            "properties": {"street": {"type": "string"}, "city": {"type": "string"}},
        }
    },
    "properties": {"name": {"type": "string"}, "address": {"$ref": "#/$defs/address"}},
    "additionalProperties": False,
}
TOOLS = {
    "test_simple_text": EMPTY,
    "test_image_content": EMPTY,
    "test_audio_content": EMPTY,
    "test_embedded_resource": EMPTY,
    "test_multiple_content_types": EMPTY,
    "test_tool_with_logging": EMPTY,
    "test_error_handling": EMPTY,
    "test_tool_with_progress": EMPTY,
    "test_sampling": _texts("prompt"),
    "test_elicitation": _texts("message"),
    "test_elicitation_sep1034_defaults": EMPTY,
    "test_elicitation_sep1330_enums": EMPTY,
    "test_reconnection": EMPTY,
    "json_schema_2020_12_tool": SCHEMA_2020,
}
DEFAULTS = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "default": "John Doe"},
        "age": {"type": "integer", "default": 30},
        "score": {"type": "number", "default": 95.5},
        "status": {
            "type": "string",
            "enum": ["active", "inactive", "pending"],
            "default": "active",
        },
        "verified": {"type": "boolean", "default": True},
    },
}
_TITLED = [{"const": f"value{n}", "title": f"{n} Option"} for n in (1, 2, 3)]
_PLAIN = ["option1", "option2", "option3"]
ENUMS = {
    "type": "object",
    "properties": {
        "untitledSingle": {"type": "string", "enum": _PLAIN},
        "titledSingle": {"type": "string", "oneOf": _TITLED},
        "legacyEnum": {
            "type": "string",
            "enum": ["opt1", "opt2", "opt3"],
            "enumNames": ["Option One", "Option Two", "Option Three"],
        },
        "untitledMulti": {"type": "array", "items": {"type": "string", "enum": _PLAIN}},
        "titledMulti": {"type": "array", "items": {"anyOf": _TITLED}},
    },
}
PROMPTS = {
    "test_simple_prompt": (),
    "test_prompt_with_arguments": ("arg1", "arg2"),
    "test_prompt_with_embedded_resource": ("resourceUri",),
    "test_prompt_with_image": (),
}


def _text(text: str) -> types.TextContent:
    return types.TextContent(type="text", text=text)


def _image() -> types.ImageContent:
    return types.ImageContent(type="image", data=PIXEL, mime_type="image/png")


def _embedded(uri: str, text: str, mime: str = "text/plain") -> types.EmbeddedResource:
    contents = types.TextResourceContents(uri=uri, text=text, mime_type=mime)
    return types.EmbeddedResource(type="resource", resource=contents)


async def _list_tools(
    context: Context, params: types.PaginatedRequestParams | None
) -> types.ListToolsResult:
    del context, params
    tools = [
        types.Tool(name=name, description=f"For the suite: {name}.", input_schema=schema)
        for name, schema in TOOLS.items()
    ]
    return types.ListToolsResult(tools=tools)


CONTENT: dict[str, list[Any]] = {
    "test_simple_text": [_text("This is a simple text response for testing.")],
    "test_image_content": [_image()],
    "test_audio_content": [types.AudioContent(type="audio", data=SILENCE, mime_type="audio/wav")],
    "test_embedded_resource": [
        _embedded("test://embedded-resource", "This is an embedded resource content.")
    ],
    "test_multiple_content_types": [
        _text("Multiple content types test:"),
        _image(),
        _embedded("test://mixed-content-resource", '{"test": "data"}', "application/json"),
    ],
    "json_schema_2020_12_tool": [_text("as its schema says")],
    "test_reconnection": [_text("Reconnection test completed.")],
}


async def _call_tool(context: Context, params: types.CallToolRequestParams) -> types.CallToolResult:
    arguments = params.arguments or {}
    name = params.name
    if name in CONTENT:
        if name == "test_reconnection" and context.close_sse_stream is not None:
            await context.close_sse_stream()
            await anyio.sleep(0.1)
        return types.CallToolResult(content=CONTENT[name])
    if name == "test_tool_with_logging":
        for line in ("Tool execution started", "Tool processing data", "Tool execution completed"):
            await context.session.send_notification(
                types.LoggingMessageNotification(
                    params=types.LoggingMessageNotificationParams(level="info", data=line)
                ),
                related_request_id=context.request_id,
            )
            await anyio.sleep(0.05)
        return types.CallToolResult(content=[_text("logged")])
    if name == "test_tool_with_progress":
        for value in (0, 50, 100):
            await context.session.report_progress(value, 100)
            await anyio.sleep(0.05)
        return types.CallToolResult(content=[_text("progressed")])
    if name == "test_sampling":
        return await _sampling(context, arguments)
    if name.startswith("test_elicitation"):
        return await _elicitation(context, name, arguments)
    return types.CallToolResult(
        content=[_text("This tool intentionally returns an error for testing")], is_error=True
    )


async def _sampling(context: Context, arguments: dict[str, Any]) -> types.CallToolResult:
    request = types.CreateMessageRequest(
        params=types.CreateMessageRequestParams(
            messages=[types.SamplingMessage(role="user", content=_text(str(arguments["prompt"])))],
            max_tokens=100,
        )
    )
    answer = await context.session.send_request(
        request,
        types.CreateMessageResult,
        metadata=ServerMessageMetadata(related_request_id=context.request_id),
    )
    said = answer.content.text if isinstance(answer.content, types.TextContent) else ""
    return types.CallToolResult(content=[_text(f"LLM response: {said}")])


async def _elicitation(
    context: Context, name: str, arguments: dict[str, Any]
) -> types.CallToolResult:
    schema: dict[str, Any] = _texts("username", "email")
    if name.endswith("defaults"):
        schema = DEFAULTS
    if name.endswith("enums"):
        schema = ENUMS
    answer = await context.session.elicit_form(
        str(arguments.get("message", "Please fill this in")),
        schema,
        related_request_id=context.request_id,
    )
    text = f"User response: action={answer.action}, content={answer.content}"
    return types.CallToolResult(content=[_text(text)])


async def _list_resources(
    context: Context, params: types.PaginatedRequestParams | None
) -> types.ListResourcesResult:
    del context, params
    named = {
        "test://static-text": "text/plain",
        "test://static-binary": "image/png",
        "test://watched-resource": "text/plain",
    }
    resources = [
        types.Resource(uri=uri, name=uri.removeprefix("test://"), mime_type=mime)
        for uri, mime in named.items()
    ]
    return types.ListResourcesResult(resources=resources)


async def _list_templates(
    context: Context, params: types.PaginatedRequestParams | None
) -> types.ListResourceTemplatesResult:
    del context, params
    template = types.ResourceTemplate(
        uri_template="test://template/{id}/data", name="template", mime_type="application/json"
    )
    return types.ListResourceTemplatesResult(resource_templates=[template])


async def _read(
    context: Context, params: types.ReadResourceRequestParams
) -> types.ReadResourceResult:
    del context
    uri = str(params.uri)
    if uri == "test://static-binary":
        contents = types.BlobResourceContents(uri=uri, blob=PIXEL, mime_type="image/png")
        return types.ReadResourceResult(contents=[contents])
    text = f'{{"id": "{uri.split("/")[-2]}"}}' if "template" in uri else f"The content of {uri}."
    return types.ReadResourceResult(
        contents=[types.TextResourceContents(uri=uri, text=text, mime_type="text/plain")]
    )


async def _subscribe(context: Context, params: types.SubscribeRequestParams) -> types.EmptyResult:
    del context, params
    return types.EmptyResult()


async def _unsubscribe(
    context: Context, params: types.UnsubscribeRequestParams
) -> types.EmptyResult:
    del context, params
    return types.EmptyResult()


async def _list_prompts(
    context: Context, params: types.PaginatedRequestParams | None
) -> types.ListPromptsResult:
    del context, params
    prompts = [
        types.Prompt(
            name=name,
            description=f"For the suite: {name}.",
            arguments=[types.PromptArgument(name=one, required=True) for one in arguments],
        )
        for name, arguments in PROMPTS.items()
    ]
    return types.ListPromptsResult(prompts=prompts)


async def _prompt(context: Context, params: types.GetPromptRequestParams) -> types.GetPromptResult:
    del context
    given = params.arguments or {}
    contents: list[Any] = [_text("This is a simple prompt for testing.")]
    if params.name == "test_prompt_with_arguments":
        contents = [_text(f"arg1='{given.get('arg1')}', arg2='{given.get('arg2')}'")]
    if params.name == "test_prompt_with_embedded_resource":
        contents = [_embedded(given["resourceUri"], "Embedded."), _text("Look at it.")]
    if params.name == "test_prompt_with_image":
        contents = [_image(), _text("Look at the image.")]
    messages = [types.PromptMessage(role="user", content=content) for content in contents]
    return types.GetPromptResult(messages=messages)


async def _complete(context: Context, params: types.CompleteRequestParams) -> types.CompleteResult:
    del context, params
    return types.CompleteResult(completion=types.Completion(values=["paris", "park"], total=2))


async def _set_level(context: Context, params: types.SetLevelRequestParams) -> types.EmptyResult:
    del context, params
    return types.EmptyResult()


def reference_server() -> Server[Any]:
    """Return the server."""
    server = Server(
        "reference",
        version="1",
        on_list_tools=_list_tools,
        on_call_tool=_call_tool,
        on_list_resources=_list_resources,
        on_list_resource_templates=_list_templates,
        on_read_resource=_read,
        on_subscribe_resource=_subscribe,
        on_unsubscribe_resource=_unsubscribe,
        on_list_prompts=_list_prompts,
        on_get_prompt=_prompt,
        on_completion=_complete,
    )
    server.add_request_handler("logging/setLevel", types.SetLevelRequestParams, _set_level)
    return server
