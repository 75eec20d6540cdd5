"""Whose address a request comes from, also behind proxies that are trusted to say so."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from flowcore_http.exchange import Exchange

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

_WITH_PORT = re.compile(r"\[([^\]]*)\](?::\d+)?|([\d.]+):\d+")


def client_address(exchange: Exchange, trusted: Sequence[Network]) -> Address | None:
    """Return the address of the client, or None where there is none, as at a Unix socket.

    It is the peer's. Where the peer is a trusted proxy, it is the last address in
    ``X-Forwarded-For`` that is not one: what stands before it may be the client's invention.

    Args:
        exchange: The request.
        trusted: The proxies, as :func:`parse_proxies` returns them.
    """
    peer = exchange.scope.get("client")
    address = parse_address(peer[0]) if peer else None
    if address is None or not _is_in(address, trusted):
        return address
    for entry in reversed(",".join(exchange.field_values(b"x-forwarded-for")).split(",")):
        before = parse_address(entry.strip())
        if before is None:
            break
        address = before
        if not _is_in(address, trusted):
            break
    return address


def block_of(address: Address | None) -> str:
    """Return what counts as one client: an IPv4 address, or the 64-bit network of an IPv6 one."""
    if isinstance(address, IPv6Address):
        return str(IPv6Network((int(address) >> 64 << 64, 64)))
    return str(address or "")


def parse_address(text: str) -> Address | None:
    """Return the address that ``text`` is, with or without a port, or None."""
    if match := _WITH_PORT.fullmatch(text):
        text = match[1] or match[2] or ""
    try:
        address = ip_address(text)
    except ValueError:
        return None
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


def parse_proxies(texts: Iterable[str]) -> list[Network]:
    """Return the networks that texts such as ``10.0.0.1`` and ``fd00::/8`` are.

    Raises:
        ValueError: If one is neither an address nor a network.
    """
    networks: list[Network] = []
    for text in texts:
        try:
            networks.append(ip_network(text))
        except ValueError as error:
            raise ValueError(f"write addresses or networks such as 10.0.0.0/8: {error}") from None
    return networks


def _is_in(address: Address, networks: Sequence[Network]) -> bool:
    return any(address in network for network in networks)
