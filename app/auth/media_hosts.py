"""Decides from which hosts the gateway may fetch media for a request (`allow_remote_media`). Pure."""

from __future__ import annotations

import re
from fnmatch import fnmatchcase
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

from app.auth.hosts import host_name

_HOST = re.compile(r"(\*|(\*\.)?[\w-]+(\.[\w-]+)*)\Z")
# The prefix of IPv4 addresses in networks without IPv4 (RFC 6052).
_NAT64 = ip_network("64:ff9b::/96")


def hosts_of(text: str) -> tuple[str, ...]:
    """Parses the setting: host names, `*.example.com` for all names below one, `*` for all.

    Raises ValueError with a message.
    """
    hosts = tuple(part.lower().removesuffix(".") for part in (part.strip() for part in text.split(",")) if part)
    for host in hosts:
        if not _HOST.match(host):
            raise ValueError(
                f"{host!r} is not a host name; write only the name, such as upload.example.com or *.example.com"
            )
    return hosts


def is_listed(host: str, hosts: tuple[str, ...]) -> bool:
    """Tells whether the host of a URL is in the setting."""
    name = host_name(host)
    return any(fnmatchcase(name, pattern) for pattern in hosts)


def is_public(address: str) -> bool:
    """Tells whether an address is on the internet, and neither this machine nor in a private network."""
    try:
        ip = ip_address(address.partition("%")[0])
    except ValueError:
        return False
    if isinstance(ip, IPv6Address):
        inner = ip.ipv4_mapped
        if ip in _NAT64:
            inner = IPv4Address(ip.packed[-4:])
        if inner is not None:
            return is_public(str(inner))
        if ip.is_site_local or ip.sixtofour is not None or ip.teredo is not None:
            return False
    return ip.is_global and not (ip.is_multicast or ip.is_reserved or ip.is_unspecified)
