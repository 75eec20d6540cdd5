"""What stands in the place of what ops and configurations hold of FlowLLM."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

_ADD_TEXT = "await self.context.add_stream_text(text, chunk_type)"
_ADD_TEXT_SYNC = "self.context.add_stream_text_sync(text, chunk_type)"
_SIDE_BY_SIDE = "write several ops side by side in the flow, `AOp() | BOp()`"
_TASK_GROUP = "start the tasks in `async with anyio.create_task_group()`"
_IN_ASYNC_OPS = f"{_TASK_GROUP}, or {_SIDE_BY_SIDE}"
_IN_SYNC_OPS = f"{_SIDE_BY_SIDE}; or, in a BaseAsyncOp, {_TASK_GROUP}"
_NO_CACHE = "delete it, and keep in an op of yours what is dear to compute"
_NO_CHOICE = "delete it, and name the files with the flows to serve: `config=base,chat`"
_NO_MCP = "delete it; a plugin can add a service `mcp`, and an op can use any MCP client"
_NO_NEED = "delete it, for there is nothing to turn off"
_ANSWER = "write `self.context.response.answer = …`, and return it where another op calls this one"
_A_TOOL = "hold a `Tool` on the class, `TOOL: ClassVar[Tool] = Tool(name=…)`"
_A_PARAMETER = "declare the parameter on the class, `x: int = 1`, and read `self.x`"
_CATCH = "catch the `BackendError` of a model that fails, or write `async_default_execute`"
_LOADS = "write `json.loads(call.arguments or '{}')`"
_DUMP = "write `model_dump()`, or hand the object itself to the model"
_COMES_INTO_BEING = "delete it, for a workspace comes into being with its first node"
_IN_LIST = "look for it in what `async_list_workspace()` returns"
_DUMP_AND_LOAD = "dump the workspace to a file, and load that into the other one"
_NODES = "write `async_list_workspace_nodes(workspace_id)`"

OF_CONTEXT: Mapping[str, str] = {
    "add_stream_string_and_type": f"write `{_ADD_TEXT}`, in which `chunk=` is called `text=`",
    "add_stream_done": "delete the call, for a stream ends by itself",
    "add_response_error": (
        "raise the error, which ends the run as failed; or set "
        "`self.context.response.success = False` and `self.context.response.answer`"
    ),
}
"""Methods of a context."""
OF_OPS: Mapping[str, str] = {
    "op_params": _A_PARAMETER,
    "service_config_metadata": _A_PARAMETER,
    "input_dict": "read `self.context`",
    "output_dict": _ANSWER,
    "set_output": _ANSWER,
    "set_outputs": _ANSWER,
    "tool_call": _A_TOOL,
    "token_count": "read `usage` in the `metadata` of a reply, or count with a tokenizer of yours",
    "save_load_cache": _NO_CACHE,
    "async_save_load_cache": _NO_CACHE,
    "submit_async_task": _IN_ASYNC_OPS,
    "join_async_task": _IN_ASYNC_OPS,
    "submit_task": _IN_SYNC_OPS,
    "join_task": _IN_SYNC_OPS,
}
"""Attributes of an op."""
OF_PARAMETERS: Mapping[str, str] = {
    "enable_cache": _NO_CACHE,
    "cache_path": _NO_CACHE,
    "cache_expire_hours": _NO_CACHE,
    "async_mode": "delete it; both kinds of op may stand in one flow",
    "enable_multithread": "delete it; a BaseOp runs in a worker thread",
    "save_answer": _ANSWER,
    "tool_index": "delete it; write to `self.context` under a name of your own",
    "input_schema_mapping": "delete it; read `self.context` under the other name",
    "output_schema_mapping": "delete it; write to `self.context` under the other name",
}
"""Parameters of every op, or of those that are tools."""
OF_MODELS: Mapping[str, str] = {
    "callback_fn": "call the function with the reply, `parse(await self.llm.achat(messages))`",
    "default_value": _CATCH,
    "enable_stream_print": "delete it; `flowcore call` prints a stream",
}
"""Arguments of the calls of a model."""
OF_VALUES: Mapping[str, Mapping[str, str]] = {
    "Message": {"simple_dump": _DUMP, "dump_content": "read `content`"},
    "ToolCall": {
        "argument_dict": _LOADS,
        "check_argument": f"{_LOADS}, and catch its ValueError",
        "simple_input_dump": _DUMP,
        "simple_output_dump": _DUMP,
        "input_schema": _A_TOOL,
    },
    "BaseVectorStore": {
        "exist_workspace": _IN_LIST,
        "async_exist_workspace": _IN_LIST,
        "create_workspace": _COMES_INTO_BEING,
        "async_create_workspace": _COMES_INTO_BEING,
        "copy_workspace": _DUMP_AND_LOAD,
        "async_copy_workspace": _DUMP_AND_LOAD,
        "iter_workspace_nodes": _NODES,
        "async_iter_workspace_nodes": _NODES,
    },
}
"""Attributes of objects that ops use, by the class in flowcore."""
OF_IMPORTS: Mapping[str, str] = {
    "BaseAsyncToolOp": "derive from BaseAsyncOp, read `self.context`, and write the answer",
    "BaseMcpOp": "derive from BaseAsyncOp, and use any MCP client in `async_execute`",
    "BaseRayOp": "derive from BaseOp; Ray may be used in its `execute`",
    "FlowLLMApp": "write FlowApp",
    "Application": "write FlowApp",
    "FlowRequest": "delete it; the inputs of a run are values of `self.context`",
    "Trajectory": "define a class of yours, with task_id, messages, score and metadata",
    "BaseContext": "delete it; `self.ops` is a dict, and `self.context` a FlowContext",
    "ToolAttr": "write the JSON Schema of the arguments, `Tool(name=…, parameters={…})`",
    "HttpClient": "write `from flowcore_http import HttpClient`",
}
"""Names that modules import."""
OF_CONFIG: Mapping[tuple[str | int, ...], str] = {
    ("http", "timeout_keep_alive"): "write `http.keep_alive_timeout`",
    ("http", "limit_concurrency"): "write `http.max_connections`",
    ("enable_logo",): _NO_NEED,
    ("init_logger",): _NO_NEED,
    ("enabled_flows",): _NO_CHOICE,
    ("disabled_flows",): _NO_CHOICE,
    ("metadata",): "write parameters of ops, or `${NAME}` for variables of the environment",
    ("ray_max_workers",): "delete it; `http.workers` serves in several processes",
    ("mcp",): _NO_MCP,
    ("external_mcp",): _NO_MCP,
    ("cmd",): "delete it; the command `flowcore call FLOW query=…` runs one flow",
    ("flow", "*", "enable_cache"): _NO_CACHE,
    ("flow", "*", "cache_path"): _NO_CACHE,
    ("flow", "*", "cache_expire_hours"): _NO_CACHE,
    ("llm", "*", "token_count"): "delete it; the `usage` chunk of a model tells its tokens",
}
"""Keys of a configuration; ``*`` stands for the name of an entry."""


def instead_of(name: str, *, is_sync: bool) -> str:
    """Return what to do about a method of FlowLLM's context, or an empty string for other names.

    Args:
        name: Name of the method.
        is_sync: Whether a sync op calls it.
    """
    instead = OF_CONTEXT.get(name, "")
    return instead.replace(_ADD_TEXT, _ADD_TEXT_SYNC) if is_sync else instead


def instead_of_key(path: tuple[str | int, ...]) -> str:
    """Return what to do about a key of FlowLLM's configuration, or an empty string for others."""
    return OF_CONFIG.get(path) or OF_CONFIG.get((*path[:1], "*", *path[2:]), "")


def instead_of_parameter(name: str) -> str:
    """Return what to do about a parameter of FlowLLM's ops, or an empty string for others."""
    return f", which is FlowLLM's: {OF_PARAMETERS[name]}" if name in OF_PARAMETERS else ""


def instead_of_import(error: BaseException) -> str:
    """Return what to do about an import of FlowLLM, or of a name that only FlowLLM has."""
    if not isinstance(error, ImportError):
        return ""
    if (error.name or "").partition(".")[0] == "flowllm":
        return (
            "; write `from flowcore import BaseAsyncOp, C`, and bring helpers of FlowLLM that "
            "you use, such as `extract_content`, along as functions of yours"
        )
    quoted = re.match(r"cannot import name '(\w+)'", error.msg)
    if error.name != "flowcore" or not quoted or quoted[1] not in OF_IMPORTS:
        return ""
    return f"; {quoted[1]} is FlowLLM's: {OF_IMPORTS[quoted[1]]}"


def refuse_arguments(names: Iterable[str]) -> None:
    """Refuse arguments of FlowLLM's models, which would go to the model's server.

    Raises:
        TypeError: If a name is one of these.
    """
    told = [told for name in names if (told := told_of_argument(name))]
    if told:
        raise TypeError("; ".join(told))


def note_on(error: Exception, op: object) -> str:
    """Return what to do about an attribute that an op, or what it uses, had in FlowLLM."""
    if not isinstance(error, AttributeError):
        return ""
    if error.obj is op:
        return told_of_op(error.name or "")
    for cls in type(error.obj).__mro__:
        known = OF_VALUES.get(cls.__name__) if cls.__module__.startswith("flowcore.") else None
        if known and (instead := known.get(error.name or "")):
            return f"{cls.__name__}.{error.name} is FlowLLM's: {instead}"
    return ""


def told_of_op(name: str) -> str:
    """Return what to do about an attribute of FlowLLM's ops, or an empty string for others."""
    return f"self.{name} is FlowLLM's: {OF_OPS[name]}" if name in OF_OPS else ""


def told_of_argument(name: str) -> str:
    """Return what to do about an argument of FlowLLM's models, or an empty string for others."""
    return f"{name}= is FlowLLM's: {OF_MODELS[name]}" if name in OF_MODELS else ""
