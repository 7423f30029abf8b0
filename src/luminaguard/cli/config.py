"""`luminaguard config`: what is set, and where each value comes from."""

import json
from dataclasses import fields, is_dataclass

import click

from luminaguard.config import Settings


@click.group()
def config() -> None:
    """Show the configuration."""


@config.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object and nothing else.")
@click.pass_obj
def show(settings: Settings, *, as_json: bool) -> None:
    """Print every value with its origin: the file, an environment variable, or the default."""
    rows = {
        "state_dir": (str(settings.state_dir), ""),
        "cache_dir": (str(settings.cache_dir), ""),
        "config_file": (str(settings.config_file), ""),
    }
    for section in fields(settings):
        table = getattr(settings, section.name)
        if is_dataclass(table):
            for item in fields(table):
                name = f"{section.name}.{item.name}"
                rows[name] = (getattr(table, item.name), settings.origins.get(name, "default"))
    for provider, reached in settings.providers.items():
        for item in fields(reached):
            value = getattr(reached, item.name)
            rows[f"providers.{provider}.{item.name}"] = (value, str(settings.config_file))
    for place, project in settings.projects.items():
        rows[f'projects."{place}".image'] = (project.image, str(settings.config_file))
    if as_json:
        click.echo(json.dumps({k: {"value": v, "origin": o} for k, (v, o) in rows.items()}))
        return
    width = max(len(name) for name in rows)
    for name, (value, origin) in rows.items():
        shown = list(value) if isinstance(value, tuple) else value
        click.echo(f"{name:<{width}}  {shown}" + (f"  ({origin})" if origin else ""))
