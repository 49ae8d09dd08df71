"""Commands about the machines of a cluster."""

from __future__ import annotations

from typing import Annotated

import typer

from app.cli.options import AsJson, Config, errors_in_words, print_json, settings_of

commands = typer.Typer()
node = typer.Typer(help="Join machines to a cluster, and list them.", no_args_is_help=True)
commands.add_typer(node, name="node")


@node.command("start")
def node_start(
    head: Annotated[bool, typer.Option("--head", help="Start a new cluster, which others join.")] = False,
    join: Annotated[
        str | None,
        typer.Option(metavar="ADDRESS", help="Head of the cluster, such as 10.0.0.1:6379 [default: cluster.address]."),
    ] = None,
    token: Annotated[
        str | None,
        typer.Option(metavar="SOURCE", help="Token of the cluster: env:NAME or file:FILE [default: cluster.token]."),
    ] = None,
    name: Annotated[
        str | None, typer.Option(metavar="NAME", help="Name of this machine for `nodes` [default: its host name].")
    ] = None,
    address: Annotated[
        str | None,
        typer.Option(metavar="ADDRESS", help="Address of this machine for the others [default: by its routes]."),
    ] = None,
    port: Annotated[int, typer.Option(metavar="PORT", min=1, max=65535, help="Port of the head.")] = 6379,
    ports: Annotated[
        str, typer.Option(metavar="PORTS", help="Ports of this machine for the cluster, ten or more.")
    ] = "6400-6499",
    config: Config = None,
) -> None:
    """Run this machine as a node of a cluster.

    Runs until Ctrl-C, and joins again when the node or the head has ended. Folders and llama-server are those of this
    machine's tandem.yaml or environment.
    """
    with errors_in_words():
        from app.cli.node_start import NodeOptions, start_node

        start_node(config, NodeOptions(head, join, token, name, address, port, ports))


@node.command("ls")
def node_ls(as_json: AsJson = False, config: Config = None) -> None:
    """List the nodes of the cluster.

    Asks the running gateway. Without one, it joins the cluster for a moment.
    """
    with settings_of(config) as settings:
        from app.cli.node_list import list_nodes, print_nodes

        listing = list_nodes(settings, config)
        if as_json:
            print_json(listing)
        else:
            print_nodes(listing)
        if listing["trouble"]:
            raise typer.Exit(1)
