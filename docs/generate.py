"""Write the reference pages from the code, or compare them with it.

    python docs/generate.py           write docs/reference
    python docs/generate.py --check   say which pages differ; exit status 1 if any does

What a page says stands in docstrings, in literal tables and in the commands' own help, so there is one place
to change. A fact that the code does not state is not on these pages.
"""

import argparse
import inspect
import re
import tempfile
import textwrap
import types
import typing
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any, Final, Literal, get_args, get_origin

import msgspec

from edgewright.wire import deployment, errors, messages, topics
from edgewright.wire.manifest import RuntimeRange

REFERENCE: Final = Path(__file__).resolve().parent / "reference"
NOTE: Final = "<!-- Written by `make docs` from the code; edit the code. -->\n"

Page = tuple[str, str]
"""Title and text of a page."""


def main() -> int:
    """Write or compare; returns the exit status."""
    parser = argparse.ArgumentParser(description="Write docs/reference from the code.")
    parser.add_argument("--check", action="store_true", help="compare instead of writing")
    check = parser.parse_args().check
    stale = []
    for name, (title, text) in pages().items():
        path = REFERENCE / name
        content = f"{NOTE}# {title}\n\n{text.strip()}\n"
        if not path.is_file() or path.read_text() != content:
            stale.append(name)
            if not check:
                path.write_text(content)
    for name in stale:
        print(f"docs/reference/{name}: {'differs from the code, run `make docs`' if check else 'written'}")
    return int(check and bool(stale))


def pages() -> dict[str, Page]:
    """Every generated page by its file name."""
    return {
        "errors.md": error_page(),
        "topics.md": topic_page(),
        "messages.md": message_page(),
        "deployment-states.md": state_page(),
        "model-toml.md": model_toml_page(),
        "tensor-models.md": tensor_model_page(),
        "agent-configuration.md": agent_configuration_page(),
        "targets.md": target_page(),
        "rest-api.md": rest_page(),
        "cli.md": command_page(),
    }


# Text: docstrings and tables as Markdown.


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    lines = [" | ".join(head)]
    lines.append("|".join("---" for _ in lines[0].split(" | ")))
    lines += [" | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in row) for row in rows]
    return "".join(f"| {line} |\n" if "---" not in line else f"|{line}|\n" for line in lines)


def _prose(docstring: str | None) -> str:
    """A docstring before its first section, one paragraph a line, ``x`` as `x`."""
    text = inspect.cleandoc(docstring or "")
    text = re.split(r"\n\s*(?:Attributes|Args|Raises|Returns|Example)s?:\s*\n|\n>>> ", f"{text}\n")[0]
    paragraphs = (" ".join(part.split()) for part in re.split(r"\n\s*\n", text))
    return "\n\n".join(part for part in paragraphs if part).replace("``", "`")


def _first_sentence(docstring: str | None) -> str:
    return _prose(docstring).partition("\n\n")[0]


def _field_notes(owner: type) -> dict[str, str]:
    """What the section ``Attributes:`` of a docstring says of each field."""
    _, _, section = inspect.cleandoc(owner.__doc__ or "").partition("Attributes:\n")
    notes: dict[str, str] = {}
    for entry in re.split(r"\n(?=\S)", textwrap.dedent(section).strip()):
        names, _, said = entry.partition(":")
        notes |= {name.strip(): " ".join(said.split()).replace("``", "`") for name in names.split(",")}
    return notes


def _type_name(kind: Any) -> str:
    """A type in words: `text`, `list of number`, `"a" or "b"`."""
    plain = {
        str: "text",
        int: "integer",
        float: "number",
        bool: "yes or no",
        bytes: "bytes",
        type(None): "nothing",
    }
    if kind in plain:
        return plain[kind]
    origin, inside = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return ", ".join([_type_name(inside[0]), *(bound for meta in inside[1:] for bound in _bounds(meta))])
    if origin is Literal:
        return " or ".join(f"`{value}`" for value in inside)
    if origin in (types.UnionType, typing.Union):
        return " or ".join(_type_name(part) for part in inside)
    if origin is tuple:
        listed = inside[:1] if inside[-1:] == (Ellipsis,) else inside
        return ("list of " if listed != inside else "") + ", ".join(_type_name(part) for part in listed)
    if origin is dict:
        return f"{_type_name(inside[0])} to {_type_name(inside[1])}"
    return f"`{getattr(kind, '__name__', kind)}`"


def _bounds(meta: msgspec.Meta) -> Iterator[str]:
    limits = {"above": meta.gt, "at least": meta.ge, "below": meta.lt, "at most": meta.le}
    yield from (f"{words} {limit:g}" for words, limit in limits.items() if limit is not None)


def _default(field: msgspec.structs.FieldInfo) -> str:
    if field.required:
        return "required"
    if field.default in (msgspec.NODEFAULT, None, "", (), {}):
        return "none"
    return (
        {True: "yes", False: "no"}[field.default] if isinstance(field.default, bool) else f"`{field.default}`"
    )


def _struct_table(kind: type[msgspec.Struct]) -> str:
    notes = _field_notes(kind)
    return _table(
        ("field", "type", "default", "meaning"),
        (
            (f"`{field.encode_name}`", _type_name(field.type), _default(field), notes.get(field.name, ""))
            for field in msgspec.structs.fields(kind)
        ),
    )


# The wire.


def error_page() -> Page:
    """All numbered errors of both sides."""
    from edgewright.controller import errors as controller_errors

    text = (
        "An error has a stable number, one sentence of what is wrong and one of what to do. The number "
        "crosses the wire in reports, stands in API answers, and is the exit status of a command that ends "
        "with it.\n\n"
    )
    text += f"Number {errors.EdgewrightError.number} stands for anything that has none of its own.\n"
    for module in (errors, controller_errors):
        for root, members in _by_root(module):
            text += f"\n## {root.__name__.removesuffix('Error')}\n\n{_first_sentence(root.__doc__)}\n\n"
            rows = ((str(e.number), _spaced(e), _first_sentence(e.__doc__), e.remedy) for e in members)
            text += _table(("number", "name", "meaning", "remedy"), rows)
    return "Errors", text


def _spaced(error: type[errors.EdgewrightError]) -> str:
    return f"`{error.__name__.removesuffix('Error')}`"


def _by_root(module: types.ModuleType) -> Iterator[tuple[type[errors.EdgewrightError], list[Any]]]:
    """Roots of a module with their numbered errors."""
    defined = [
        value
        for value in vars(module).values()
        if inspect.isclass(value)
        and issubclass(value, errors.EdgewrightError)
        and value.__module__ == module.__name__
    ]
    numbered = [error for error in defined if "number" in vars(error) and error is not errors.EdgewrightError]
    for root in defined:
        members = [error for error in numbered if error.__mro__[1] is root]
        if members and root is not errors.EdgewrightError:
            yield root, sorted(members, key=lambda error: error.number)


EXAMPLES: Final[dict[str, Any]] = {
    "device": "r1",
    "kind": "window",
    "file": "timestamp.json",
    "sha256": "9f" * 32,
    "version": 2,
}


def topic_page() -> Page:
    """Each builder of ``wire.topics``, called with an example."""
    rows = []
    for name, builder in inspect.getmembers(topics, inspect.isfunction):
        parameters = inspect.signature(builder).parameters
        is_builder = (
            builder.__module__ == topics.__name__ and inspect.signature(builder).return_annotation is str
        )
        if name.startswith(("_", "check_", "parse_", "shard_")) or not is_builder:
            continue
        example = builder(**{parameter: EXAMPLES[parameter] for parameter in parameters})
        rows.append((f"`{name}({', '.join(parameters)})`", f"`{example}`", _first_sentence(builder.__doc__)))
    text = _prose(topics.__doc__) + "\n\n" + _table(("builder", "example", "what lies there"), rows)
    kinds = ", ".join(f"`{kind}`" for kind in topics.UP_KINDS)
    return "Topics", f"{text}\nKinds of upward messages: {kinds}. There are {topics.SHARDS} shards.\n"


def message_page() -> Page:
    """Each message, up and down, with its fields."""
    text = _prose(messages.__doc__.split("Up (device")[0] if messages.__doc__ else "") + "\n"
    window, largest = messages.MAX_WINDOW_BYTES, messages.MAX_MESSAGE_BYTES
    text += f"\nA window has at most {window} bytes, any message {largest}.\n"
    for direction, union in (("Up", messages.Upward), ("Down", messages.Downward)):
        text += f"\n## {direction}\n"
        for kind in get_args(union):
            text += f"\n### {kind.__name__}\n\n{_prose(kind.__doc__)}\n\n{_struct_table(kind)}"
    return "Messages", text


def state_page() -> Page:
    """The transition table, as a drawing and by state."""
    text = _prose(deployment.__doc__).partition("Rules:")[0].strip() + "\n\n```\n"
    for state, moves in deployment.TRANSITIONS.items():
        for event, after in moves.items():
            if after not in (state, deployment.State.SUPERSEDED):
                text += f"{state:<13} --{event + '--':-<12}> {after}\n"
    text += "```\n\nA newer assignment supersedes a deployment that is not finished.\n\n"
    rows = (
        (
            f"`{state}`",
            str(deployment.OWNERS[state]),
            ", ".join(f"{event} → `{after}`" for event, after in moves.items()) or "the end",
        )
        for state, moves in deployment.TRANSITIONS.items()
    )
    return "Deployment states", text + _table(("state", "owner", "event → next state"), rows)


# Settings.


def model_toml_page() -> Page:
    """Each part of model.toml."""
    from edgewright.controller import model_toml

    text = _prose(model_toml.__doc__).replace(
        "The reference of all entries is docs/reference/model-toml.md.", ""
    )
    text += "\n\n" + _parts(model_toml.ModelSpec)
    return "model.toml", text


def tensor_model_page() -> Page:
    """Each part of a tensor model's model.toml."""
    from edgewright.controller import model_tensors

    text = _prose(model_tensors.__doc__) + "\n\n" + _parts(model_tensors.TensorSpec)
    drawn = _struct_table(model_tensors.SyntheticPart)
    text += f"\n## [data.synthetic]\n\n{_prose(model_tensors.SyntheticPart.__doc__)}\n\n{drawn}"
    return "model.toml of a tensor model", text.replace("`SyntheticPart` or nothing", "table")


def agent_configuration_page() -> Page:
    """Each part of agent.toml."""
    from edgewright.agent import settings

    example = textwrap.dedent((settings.__doc__ or "").partition("Example::")[2]).strip()
    text = (
        "`edgewright-agent enroll` writes `agent.toml` into the data folder. A setting that is unknown, "
        f"missing or wrong is refused by name.\n\n```toml\n{example}\n```\n\n"
    )
    return "Agent configuration", text + _parts(settings.Settings)


def target_page() -> Page:
    """The shipped table, what is described, and what a table of the site's own may have."""
    from edgewright.controller.compiler import targets

    text = (
        "A device enrols with one target; `targets` in [model.toml](model-toml.md) says which ones a model "
        "is compiled for. [What a build does](../explanation/builds.md) happens for each. `edgewright "
        "targets` lists this table with the devices that fit, and `edgewright-agent target` says on a "
        "device which ones it fits.\n\n"
    )
    text += _prose(targets.__doc__).partition("\n\n")[2] + "\n\n## Targets\n\n"
    text += "Of two that a device fits, the one further up is the better.\n\n"
    rows = ((f"`{t.name}`", t.summary, *_target_cells(t)) for t in targets.TARGETS.values())
    text += _table(("target", "what", "processor", "runtime", "artifact", "precisions", "toolchains"), rows)
    text += "\n## Not yet qualified\n\nNothing is compiled for these: E079.\n\n"
    described = ((f"`{t.name}`", t.summary, t.machine, t.missing) for t in targets.DESCRIBED.values())
    text += _table(("target", "what", "processor", "missing"), described)
    said, _, example = (
        inspect.cleandoc(targets.read_site.__doc__ or "").partition("Raises:")[0].partition("::")
    )
    text += f"\n## A table of the site's own\n\n{_prose(said)}:\n\n"
    text += f"```toml\n{textwrap.dedent(example).strip()}\n```\n"
    for title, kind in (("[target.NAME]", targets.Target), ("[described.NAME]", targets.DescribedTarget)):
        fields = [field for field in msgspec.structs.fields(kind) if field.name != "name"]
        notes = {name: note for owner in reversed(kind.__mro__) for name, note in _field_notes(owner).items()}
        entries = ((f"`{f.name}`", _type_name(f.type), _default(f), notes.get(f.name, "")) for f in fields)
        text += f"\n### {title}\n\n" + _table(("field", "type", "default", "meaning"), entries)
    text += f"\n### runtime\n\n{_struct_table(RuntimeRange)}"
    return "Targets", text


def _target_cells(target: Any) -> tuple[str, ...]:
    runtime = target.runtime
    versions = f"{runtime.name} {runtime.minimum} to below {runtime.below}, {runtime.provider}"
    tools = ", ".join(dict.fromkeys(filter(None, (target.environment, *target.needs)))) or "none"
    form = f"{target.format}, activations {target.activation}"
    return ", ".join((target.machine, *target.cpu)), versions, form, ", ".join(target.precisions), tools


def _parts(spec: type[msgspec.Struct]) -> str:
    """Plain entries first, then a section for each table."""
    fields = msgspec.structs.fields(spec)
    plain = [field for field in fields if not _is_struct(field.type) and not _repeated(field.type)]
    notes = _field_notes(spec)
    text = "## Top level\n\n" if plain else ""
    rows = ((f"`{f.name}`", _type_name(f.type), _default(f), notes.get(f.name, "")) for f in plain)
    text += _table(("field", "type", "default", "meaning"), rows) if plain else ""
    for field in fields:
        if _is_struct(field.type):
            text += f"\n## [{field.name}]\n\n{_prose(field.type.__doc__)}\n\n{_struct_table(field.type)}"
        elif repeated := _repeated(field.type):
            text += f"\n## [[{field.name}]]\n\n{_prose(repeated.__doc__)}\n\n{_struct_table(repeated)}"
    return text


def _is_struct(kind: Any) -> bool:
    return inspect.isclass(kind) and issubclass(kind, msgspec.Struct)


def _repeated(kind: Any) -> type[msgspec.Struct] | None:
    """The struct of a setting that is a list of tables."""
    inside = get_args(kind)
    return inside[0] if get_origin(kind) is tuple and _is_struct(inside[0]) else None


# The controller's operations and both programs' commands.


def rest_page() -> Page:
    """Each operation and each schema, from the OpenAPI description."""
    from edgewright.controller.api.app import create_app
    from edgewright.controller.blobs import BlobStore
    from edgewright.controller.database.engine import Database

    with tempfile.TemporaryDirectory() as scratch:
        # The description needs the routes only: no operation is called, nothing else of the controller runs.
        folder = Path(scratch)
        services = types.SimpleNamespace(
            data=folder, db=Database.in_folder(folder), blobs=BlobStore(folder / "blobs")
        )
        described = create_app(typing.cast("Any", services)).openapi()
    operations: dict[str, list[tuple[str, ...]]] = {}
    for path, methods in described["paths"].items():
        for method, operation in methods.items():
            call = f"`{method.upper()} {path}`"
            row = (call, operation["x-edgewright-role"], *_described(operation))
            operations.setdefault(operation["tags"][0], []).append(row)
    text = (
        "An operation that takes a role needs `Authorization: Bearer TOKEN` with a token of that role or a "
        "higher one; [people and audit](../how-to/people-and-audit.md) says how to get one. The local token "
        "in the data folder's `api-token` is an admin's. Nobody means that no person's token is asked for; a "
        "device shows its own token or certificate. `GET /api/v1/openapi.json` has the whole description. A "
        "refusal is a problem (RFC 9457) with the number of the [error](errors.md): 94 (401) without a token "
        "that counts, 107 (403) with the role that would be needed, 110 (429) after too many wrong ones.\n"
    )
    for tag, rows in operations.items():
        text += f"\n## {tag.capitalize()}\n\n" + _table(("operation", "role", "what", "body", "answer"), rows)
    text += "\n## Schemas\n"
    for name, schema in described["components"]["schemas"].items():
        if "properties" in schema and not name.startswith(("HTTPValidation", "ValidationError")):
            text += f"\n### {name}\n\n{_said(schema)}\n\n{_schema_table(schema)}"
    return "REST API", text


def _said(described: dict[str, Any]) -> str:
    return " ".join(str(described.get("description") or described.get("summary") or "").split()).replace(
        "``", "`"
    )


def _schema_name(schema: dict[str, Any]) -> str:
    """A JSON schema in words, linked where it has a name of its own."""
    if name := schema.get("$ref", "").rpartition("/")[2]:
        return f"[{name}](#{name.lower()})"
    if options := schema.get("anyOf") or schema.get("oneOf"):
        return " or ".join(_schema_name(option) for option in options)
    if values := schema.get("enum") or ([schema["const"]] if "const" in schema else None):
        return " or ".join(f"`{value}`" for value in values)
    if schema.get("type") == "array":
        return f"list of {_schema_name(schema.get('items', {}))}"
    plain = {"string": "text", "boolean": "yes or no", "null": "nothing", None: "anything"}
    return plain.get(schema.get("type"), str(schema.get("type")))


def _content(described: dict[str, Any]) -> str:
    media = next(iter(described.get("content", {}).items()), None)
    if media is None:
        return ""
    return _schema_name(media[1]["schema"]) if media[1].get("schema") else f"`{media[0]}`"


def _body(operation: dict[str, Any]) -> str:
    return _content(operation.get("requestBody", {}))


def _described(operation: dict[str, Any]) -> tuple[str, str, str]:
    return _said(operation), _body(operation), _answer(operation)


def _answer(operation: dict[str, Any]) -> str:
    status, answer = next(iter(operation["responses"].items()))
    return f"{status} {_content(answer)}".strip()


def _schema_table(schema: dict[str, Any]) -> str:
    required = schema.get("required", [])
    return _table(
        ("field", "type", "required", "meaning"),
        (
            (f"`{name}`", _schema_name(field), "yes" if name in required else "", _said(field))
            for name, field in schema["properties"].items()
        ),
    )


def command_page() -> Page:
    """Every command of both programs."""
    import typer

    from edgewright.agent import cli as agent
    from edgewright.controller.cli import program as controller

    text = (
        "An error is one sentence with its remedy on standard error; its [number](errors.md) is the exit "
        "status. A wrong command line ends with 2, an interrupt with 130. `--debug` shows where an error "
        "came from.\n\nCommands find a controller by `--data`, which also reads its local token, or by "
        "`--url` with the token in `EDGEWRIGHT_TOKEN`.\n"
    )
    text += "".join(_typer_sections("edgewright", typer.main.get_command(controller.app)))
    return "Commands", text + "".join(_argparse_sections(agent._parser()))


def _section(name: str, said: str, rows: list[tuple[str, str, str]]) -> str:
    table = f"\n{_table(('option', 'default', 'meaning'), rows)}" if rows else ""
    return f"\n## `{name}`\n\n{said}\n{table}"


def _typer_sections(name: str, command: Any) -> Iterator[str]:
    if subcommands := getattr(command, "commands", None):
        for sub in subcommands.values():
            yield from _typer_sections(f"{name} {sub.name}", sub)
        return
    rows = []
    for parameter in command.params:
        is_argument = parameter.param_type_name == "argument"
        flags = parameter.name.upper() if is_argument else "`, `".join(parameter.opts)
        default = "required" if parameter.required else _shown(parameter.default)
        rows.append((f"`{flags}`", default, " ".join((getattr(parameter, "help", "") or "").split())))
    yield _section(name, " ".join((command.help or "").split()), rows)


def _argparse_sections(parser: argparse.ArgumentParser) -> Iterator[str]:
    subparsers: Any = next(action for action in parser._actions if action.choices)
    notes = {choice.dest: choice.help or "" for choice in subparsers._get_subactions()}
    for name, sub in subparsers.choices.items():
        rows = [
            (
                f"`{action.option_strings[0] if action.option_strings else action.dest}`",
                "required" if action.required else _shown(action.default),
                action.help or "",
            )
            for action in sub._actions
            if action.dest != "help"
        ]
        yield _section(f"{parser.prog} {name}", notes[name].capitalize() + ".", rows)


def _shown(default: Any) -> str:
    if isinstance(default, bool):
        return "on" if default else "off"
    return "none" if default in (None, "", []) else f"`{default}`"


if __name__ == "__main__":
    raise SystemExit(main())
