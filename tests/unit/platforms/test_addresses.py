"""The address plan of loopback: who lives where, and that it stays so."""

from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.model.service import ServiceKey, WorkloadKey
from platforms.local.addresses import MAX_SERVICES, MAX_WORKLOADS, SLOTS, Addresses, Allocator, Numbers


def full(slot: int) -> tuple[Addresses, list[WorkloadKey], list[ServiceKey]]:
    workloads = [WorkloadKey("default", f"w{n}") for n in range(MAX_WORKLOADS)]
    services = [ServiceKey("default", f"s{n}") for n in range(MAX_SERVICES)]
    return Allocator(slot).addresses(workloads, services), workloads, services


def test_all_slots_full_share_no_address() -> None:
    """Eight meshes at their limits: no workload, application or virtual network meets another."""
    seen: set[str] = set()
    for slot in range(SLOTS):
        addresses, workloads, _ = full(slot)
        for key in workloads:
            for address in (addresses.workload(key), addresses.twin(key), addresses.network(key)):
                assert address not in seen
                seen.add(address)
                assert ip_network(address).subnet_of(ip_network("127.0.0.0/8"))  # type: ignore[arg-type]
    assert len(seen) == SLOTS * MAX_WORKLOADS * 3


def test_the_last_ones_stay_in_their_ranges() -> None:
    """The highest numbers of the highest slot are inside of the documented ranges."""
    addresses, workloads, services = full(SLOTS - 1)
    last, service = workloads[-1], services[-1]
    assert addresses.workload(last) == "127.23.1.0"
    assert addresses.twin(last) == "127.39.1.0"
    assert addresses.network(last) == "127.127.248.0/21"
    assert addresses.service(service) == "240.240.7.255"
    assert addresses.service_for(last, service) == "127.127.255.255"


def test_a_clients_address_is_its_prefix_with_the_services_low_bits() -> None:
    """The rule of `Explicit.virtual_network`: network prefix, and the host bits of the virtual address."""
    addresses, workloads, services = full(3)
    for client in (workloads[0], workloads[77]):
        network = ip_network(addresses.network(client))
        for service in (services[0], services[1000]):
            host = int(ip_address(addresses.service(service))) & int(network.hostmask)
            assert addresses.service_for(client, service) == str(network[host])


def test_numbers_stay_over_edits() -> None:
    """What stays keeps its number, what comes gets a fresh one, what comes back finds its own."""
    numbers: Numbers[str] = Numbers(10)
    assert numbers.claim(["a", "b", "c"]) == {"a": 1, "b": 2, "c": 3}
    assert numbers.claim(["d", "c", "a"]) == {"d": 4, "c": 3, "a": 1}
    assert numbers.claim(["b", "a"]) == {"b": 2, "a": 1}


def test_numbers_of_the_longest_gone_are_used_again_at_the_end() -> None:
    """Only when all have been given out, the key that has been gone for longest loses its number."""
    numbers: Numbers[str] = Numbers(3)
    numbers.claim(["a", "b", "c"])
    numbers.claim(["a", "c"])
    numbers.claim(["c"])
    assert numbers.claim(["c", "new"]) == {"c": 3, "new": 2}


def test_more_keys_than_numbers_is_an_error() -> None:
    """Beyond the limit there is no number to give."""
    with pytest.raises(OverflowError):
        Numbers[int](3).claim(range(4))


@pytest.mark.parametrize("slot", [-1, SLOTS])
def test_a_slot_is_in_range(slot: int) -> None:
    """There are eight slots."""
    with pytest.raises(ValueError, match="slot"):
        Allocator(slot)


@given(st.lists(st.sets(st.integers(0, 20), max_size=8), max_size=12))
def test_numbers_are_always_distinct_and_in_range(history: list[set[int]]) -> None:
    """After any history: distinct, from 1 to the limit, and unchanged for who stayed."""
    numbers: Numbers[int] = Numbers(8)
    before: dict[int, int] = {}
    for keys in history:
        now = numbers.claim(sorted(keys))
        assert len(set(now.values())) == len(keys)
        assert all(1 <= number <= 8 for number in now.values())
        assert all(before[key] == now[key] for key in keys & before.keys())
        before = now
