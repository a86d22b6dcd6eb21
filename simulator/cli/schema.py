"""`datahall schema`: the JSON Schema of scenario files."""

from __future__ import annotations

import json

import click


@click.command("schema")
def command() -> None:
    """Print the JSON Schema of scenario files: keys, units, meanings, known names.

    Editors with YAML support complete and explain keys with it. Put this in a file's first line:
    # yaml-language-server: $schema=datahall.schema.json
    """
    from simulator.scenario.schema import json_schema

    click.echo(json.dumps(json_schema(), indent=1, ensure_ascii=False))
