"""Which tests hold each fault of the registry to its laws: seen inside its window, gone after it, gone after a
cancellation inside it.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import pytest

from harness.registry import default_registry

KINDS = default_registry().faults


class Laws(NamedTuple):
    """The file, and in it the tests of the three laws; one test may be for two of them."""

    file: str
    seen: str
    after: str
    cancelled: str


def _laws(file: str, window: str, cancelled: str, *, after: str = "") -> Laws:
    return Laws(file, window, after or window, cancelled)


_PROXY_CANCELLED = "test_a_cancellation_inside_the_window_heals_as_well"
_BREAKING = _laws(
    "test_fault_laws", "test_a_breaking_fault_breaks_inside_its_window_and_heals_after_it", _PROXY_CANCELLED
)
_DELAYING = _laws(
    "test_fault_laws", "test_a_delaying_fault_delays_inside_its_window_and_heals_after_it", _PROXY_CANCELLED
)
_SERVER = _laws(
    "test_server_fault_laws",
    "test_a_server_fault_is_seen_inside_its_window_and_gone_after_it",
    "test_a_cancellation_inside_a_server_fault_heals_as_well",
)
_POOLER = _laws(
    "test_pooler_fault_laws",
    "test_a_pooler_fault_is_seen_inside_its_window_and_gone_after_it",
    "test_a_cancellation_inside_a_pooler_fault_heals_as_well",
)
_CLIENT = _laws(
    "test_client_fault_laws",
    "test_it_is_felt_inside_its_window_and_gone_after_it",
    "test_it_is_gone_after_a_cancellation_inside_its_window",
)


def _replica(window: str) -> Laws:
    return _laws("test_replica_fault_laws", window, "test_a_cancellation_inside_the_window_heals_too")


LAWS: dict[str, Laws] = {
    "answers_lost": _BREAKING,
    "at_moment": _laws(
        "test_at_moment_laws",
        "test_a_hit_is_seen_inside_its_window_and_gone_after_it",
        "test_a_cancellation_inside_it_heals_as_well",
    ),
    "bandwidth": _DELAYING,
    "black_hole": _BREAKING,
    "client_gone": _CLIENT,
    "client_gone_twice": _CLIENT,
    "connection_limit": _SERVER,
    "crash": _SERVER,
    "disk_full": _laws(
        "test_server_fault_laws",
        "test_a_full_disk_refuses_what_needs_room_and_goes_on_afterwards",
        "test_a_cancellation_inside_a_full_disk_heals_as_well",
    ),
    "failover": _laws(
        "test_server_fault_laws",
        "test_a_failover_leaves_old_connections_with_the_old_primary",
        "test_a_cancellation_inside_a_failover_brings_it_to_its_end",
    ),
    "flapping": _BREAKING,
    "health_check_herd": _laws("test_fault_laws", "test_the_herd_checks_side_by_side", _PROXY_CANCELLED),
    "idle_cut": _laws("test_fault_laws", "test_idle_cut_holds_users_back_and_cuts_idle_connections", _PROXY_CANCELLED),
    "idle_session_timeout": _SERVER,
    "latency": _DELAYING,
    "limit_data": _BREAKING,
    "lock_held": _SERVER,
    "loop_stall": _CLIENT,
    "password_rotated": _SERVER,
    "pause": _laws(
        "test_server_fault_laws",
        "test_what_is_paused_answers_late_and_does_its_work",
        "test_a_cancellation_inside_a_server_fault_heals_as_well",
    ),
    "pooler_black_hole": _POOLER,
    "pooler_exhausted": _POOLER,
    "pooler_halted": _POOLER,
    "pooler_reconnect": _laws(
        "test_pooler_fault_laws",
        "test_a_reconnect_leaves_what_nobody_uses",
        "test_no_order_comes_after_a_cancellation",
        after="test_no_order_comes_after_its_end",
    ),
    "pooler_restart": _POOLER,
    "proxy_down": _BREAKING,
    "read_only": _SERVER,
    "recreate": _laws("test_fault_laws", "test_recreate_orders_every_group_as_often_as_it_says", _PROXY_CANCELLED),
    "replica_drain": _replica("test_a_drained_replica_answers_what_it_has_and_ends_by_itself"),
    "replica_freeze": _replica("test_a_frozen_replica_stands_still_and_its_callers_give_up_at_their_deadline"),
    "replica_kill": _replica("test_a_killed_replica_is_gone_inside_the_window_and_another_one_serves_after_it"),
    "reset_peer": _BREAKING,
    "restart": _SERVER,
    "rolling_restart": _laws(
        "test_replica_fault_laws",
        "test_a_rolling_restart_replaces_every_process_and_nobody_notices",
        "test_a_cancellation_while_it_is_installed_heals_too",
    ),
    "service_timeout": _CLIENT,
    "setup_herd": _CLIENT,
    "slicer": _DELAYING,
    "slow_close": _laws("test_fault_laws", "test_slow_close_keeps_the_socket_of_a_closed_connection", _PROXY_CANCELLED),
    "statement_timeout": _SERVER,
    "terminate_backends": _laws(
        "test_server_fault_laws",
        "test_backends_are_ended_again_and_again",
        "test_no_backend_is_ended_after_a_cancellation",
    ),
    "timeout": _BREAKING,
    "too_many_connections": _SERVER,
}


def test_the_table_is_the_registry() -> None:
    assert list(LAWS) == sorted(KINDS)


@pytest.mark.parametrize("law", Laws._fields[1:])
@pytest.mark.parametrize("kind", LAWS)
def test_every_fault_of_the_registry_is_under_each_law(kind: str, law: str) -> None:
    module = importlib.import_module(f"tests.faults.{LAWS[kind].file}")
    test = getattr(module, getattr(LAWS[kind], law))
    assert is_about(test, KINDS[kind])


def is_about(test: Callable[..., Any], fault: type[Any]) -> bool:
    """It is run for one of that kind: by its parameters, or because it makes one and enters or cancels its window."""
    marks = [mark for mark in getattr(test, "pytestmark", ()) if mark.name == "parametrize" and mark.args[0] == "fault"]
    if marks:
        given: Iterable[Any] = marks[0].args[1]
        return any(type(one) is fault for one in given)
    source = inspect.getsource(test)
    return f"{fault.__name__}(" in source and (".active(" in source or "cancelled_" in source)


@pytest.mark.parametrize("kind", ["replica_kill", "disk_full", "latency"])
def test_a_test_of_something_else_is_no_law(kind: str) -> None:
    """A refusal names a fault too; and a test over other faults has the right words in it."""
    replicas = importlib.import_module("tests.faults.test_replica_fault_laws")
    server = importlib.import_module("tests.faults.test_server_fault_laws")
    assert not is_about(replicas.test_one_process_is_hit_once_at_a_time, KINDS[kind])
    assert not is_about(getattr(server, _SERVER.seen), KINDS[kind])
