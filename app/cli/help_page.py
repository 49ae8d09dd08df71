"""The help page and the usage errors of a command, without Python types."""

from __future__ import annotations

from typing import Any

import typer
from typer.core import TyperCommand


class PlainHelpCommand(TyperCommand):
    """Shows each argument by its metavar alone. typer would add `<list[str]>`, and braces to a required one."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        # `import` does not know `-h`, since llama.cpp's `-hf` begins so
        try:
            return super().parse_args(ctx, ["--help", *args[1:]] if args[:1] == ["-h"] else args)
        except typer.BadParameter as error:
            from app.config.messages import plainer

            error.message = plainer(error.message)
            raise

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        return [piece.replace("{", "").replace("}", "") for piece in super().collect_usage_pieces(ctx)]

    def format_options(self, ctx: Any, formatter: Any) -> None:
        for title, kind in (("Arguments", "argument"), ("Options", "option")):
            records = [param.get_help_record(ctx) for param in self.get_params(ctx) if param.param_type_name == kind]
            rows = [(name.partition(" <")[0], text) for name, text in filter(None, records)]
            if rows:
                with formatter.section(title):
                    formatter.write_dl(rows)
