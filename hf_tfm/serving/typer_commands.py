"""Runs a command of transformers under another name."""

import inspect
from collections.abc import Callable
from typing import Any

import typer

__all__ = ["run_command"]


def run_command(run: Callable[..., Any], command: type, arguments: list[str], prog: str, **defaults: Any) -> None:
    """Call `run` with the options that a command of transformers takes, a class with Typer's annotations, and end the
    process. `defaults`: options whose default differs."""
    signature = inspect.signature(command)
    parameters = [
        parameter.replace(default=defaults.get(name, parameter.default))
        for name, parameter in signature.parameters.items()
    ]
    run.__signature__ = signature.replace(parameters=parameters)  # pyright: ignore[reportFunctionMemberAccess]
    app = typer.Typer(add_completion=False, rich_markup_mode=None)
    app.command()(run)
    app(args=arguments, prog_name=prog)
