"""What a proxy answers to its application's DNS queries. Not for names that the proxy itself looks up."""

import msgspec


class NameRecord(msgspec.Struct, frozen=True):
    """All `names` ("*.x" stands for everything below x) have all `addresses`, IPv4 and IPv6."""

    names: tuple[str, ...]
    addresses: tuple[str, ...]
