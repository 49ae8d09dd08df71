"""Which other machines media may be fetched from."""

import pytest

from app.auth.media_hosts import hosts_of, is_listed, is_public


@pytest.mark.parametrize(
    ("setting", "yes", "no"),
    [
        ("upload.example.com", ["upload.example.com", "UPLOAD.example.com."], ["example.com", "x.upload.example.com"]),
        (" *.Example.com , b.org", ["a.example.com", "a.b.example.com", "b.org"], ["example.com", "aexample.com"]),
        ("*", ["anything.example"], []),
        ("", [], ["upload.example.com", ""]),
    ],
)
def test_hosts_are_listed_by_name_or_by_what_they_are_below(setting: str, yes: list[str], no: list[str]) -> None:
    """Whole names, in any case; a star stands for what is before the domain."""
    hosts = hosts_of(setting)
    assert all(is_listed(name, hosts) for name in yes)
    assert not any(is_listed(name, hosts) for name in no)


@pytest.mark.parametrize("written", ["https://a.example", "a.example/x", "a.example:443", "a.*.example", "a b"])
def test_what_is_no_host_is_refused_in_words(written: str) -> None:
    """A name alone, without scheme, port or path."""
    with pytest.raises(ValueError, match="write only the name, such as"):
        hosts_of(f"good.example, {written}")


@pytest.mark.parametrize(
    "address", ["93.184.216.34", "1.1.1.1", "2606:4700::1111", "::ffff:1.1.1.1", "64:ff9b::101:101"]
)
def test_machines_on_the_internet_are_public(address: str) -> None:
    """Also an IPv4 address in IPv6's clothes."""
    assert is_public(address)


@pytest.mark.parametrize(
    "address",
    [
        *(
            "127.0.0.1",
            "127.9.9.9",
            "10.0.0.1",
            "172.16.5.4",
            "192.168.1.1",
            "169.254.169.254",
            "100.64.0.1",
            "0.0.0.0",
        ),
        *("255.255.255.255", "224.0.0.1", "240.0.0.1", "192.0.2.1", "198.18.0.1"),
        *("::1", "::", "fe80::1", "fe80::1%eth0", "fc00::1", "fd12:3456::1", "ff02::1", "fec0::1"),
        *("::ffff:127.0.0.1", "::ffff:10.0.0.1", "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe"),
        *("2002:7f00:1::", "2002:101:101::", "2001:0:4136:e378:8000:63bf:80ff:fffe"),
        *("127.1", "2130706433", "0x7f000001", "localhost", ""),
    ],
)
def test_this_machine_and_its_networks_are_not(address: str) -> None:
    """In every notation; tunnels that could lead inside as well."""
    assert not is_public(address)
