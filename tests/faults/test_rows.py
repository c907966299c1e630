"""Every fault that the store, the catalogue and several gateways must survive has tests, and here they are named."""

import ast
from functools import cache
from pathlib import Path
from typing import Final

import pytest

TESTS: Final = Path(__file__).parent.parent

ROWS: Final[dict[str, tuple[str, ...]]] = {
    "F1 kill -9 amid a write": (
        "faults/test_kill.py::test_no_kill_loses_what_was_acknowledged",
        "several/test_histories.py::test_a_history_is_linearizable",
    ),
    "F5 kill -9 amid sweep, scrub, import": (
        "faults/test_kill.py::test_no_kill_loses_what_was_acknowledged",
        "faults/test_moving.py::test_a_killed_import_goes_on",
        "faults/test_moving.py::test_a_killed_read_through_goes_on",
    ),
    "F6 power loss, in the long form": (
        "faults/power/test_power_loss.py::test_no_power_loss_loses_what_was_acknowledged",
        "faults/power/test_power_loss.py::test_a_first_start_that_lost_the_power_goes_on",
        "faults/power/test_power_loss.py::test_configuration_accounts_and_keys_are_durable_when_answered",
        "faults/power/test_power_loss.py::test_what_was_answered_survives_the_power_and_the_catalogue",
    ),
    "F7 a sync that fails": (
        "storage/blobs/test_disk.py::test_every_call_of_a_put_fails_once",
        "storage/catalogue/test_io_errors.py::test_a_sync_that_fails_fails_its_commands",
    ),
    "F8 no space": (
        "faults/test_full_disk.py::test_a_full_disk_answers_507_and_serves_on",
        "faults/test_full_disk.py::test_everything_can_be_deleted_from_a_full_disk",
        "storage/blobs/test_disk.py::test_a_file_size_limit_is_a_full_store",
    ),
    "F9 short or failing calls": (
        "storage/blobs/test_disk.py::test_every_call_of_a_put_fails_once",
        "storage/blobs/test_disk.py::test_short_writes_lose_nothing",
        "storage/blobs/test_disk.py::test_short_reads_are_completed",
        "storage/blobs/test_disk.py::test_reads_that_fail_hold_no_descriptor",
    ),
    "F10 a torn write": (
        "faults/power/test_power_loss.py::test_no_power_loss_loses_what_was_acknowledged",
        "storage/blobs/test_disk.py::test_short_writes_lose_nothing",
        "storage/sealed/test_records.py::test_every_truncation_split_and_flip_is_refused_or_another_value",
    ),
    "F11 a bit that flips at rest": (
        "storage/sealed/test_tampering.py::test_every_bit_flipped_is_refused_by_the_check_of_its_part",
        "storage/catalogue/test_tampering.py::test_every_column_of_every_row",
        "storage/catalogue/postgres/test_tampering.py::test_a_change_in_any_column_is_found",
        "faults/test_damage.py::test_large",
    ),
    "F12 a bit that flips on its way": (
        "storage/blobs/s3/test_faults.py::test_a_bit_that_flips_on_its_way_in_is_sent_again",
        "storage/blobs/s3/test_faults.py::test_bits_that_always_flip_on_their_way_in_store_nothing",
        "storage/blobs/s3/test_faults.py::test_a_read_survives",
    ),
    "F13 a backend that fails, redirects, or loses its acknowledgement": (
        "storage/blobs/s3/test_faults.py::test_a_small_put_survives",
        "storage/blobs/s3/test_faults.py::test_a_large_put_survives",
        "storage/blobs/s3/test_faults.py::test_what_was_done_though_every_answer_said_otherwise_is_a_success",
        "storage/blobs/s3/test_faults.py::test_an_acknowledgement_of_what_was_not_done_is_not_believed",
        "storage/blobs/s3/test_faults.py::test_a_redirect_is_never_followed",
    ),
    "F14 a backend that is behind itself": (
        "storage/blobs/s3/test_faults.py::test_a_blob_that_is_not_found_at_once_is_looked_for_again",
        "storage/blobs/s3/test_faults.py::test_a_blob_that_cannot_be_had_is_never_taken_for_a_missing_one",
    ),
    "F15 a backend that lies": (
        "storage/blobs/s3/test_faults.py::test_a_lie_about_a_span_is_seen",
        "faults/test_damage.py::test_two_blobs_exchanged",
    ),
    "F18 PostgreSQL ends, or is lost amid a COMMIT": (
        "storage/catalogue/postgres/test_faults.py::test_a_commit_whose_answer_is_lost_is_settled",
        "storage/catalogue/postgres/test_faults.py::test_a_transaction_that_was_settled_as_lost_can_never_commit",
        "storage/catalogue/postgres/test_faults.py::test_a_crash_of_the_server_loses_nothing_and_heals",
    ),
    "F19 PostgreSQL refuses, or is not safe": (
        "storage/catalogue/postgres/test_faults.py::test_deadlocks_are_tried_again",
        "storage/catalogue/postgres/test_faults.py::test_who_waits_too_long_for_a_lock_is_told_to_try_again",
        "storage/catalogue/postgres/test_faults.py::test_a_server_that_could_lose_commits_is_refused",
        "storage/catalogue/postgres/test_faults.py::test_a_standby_is_refused",
    ),
    "F20 SQLite locked, owned by another, or with a long log": (
        "several/test_gateways.py::test_over_sqlite_a_second_gateway_is_refused",
        "storage/catalogue/test_sqlite.py::test_one_owner",
        "storage/catalogue/test_sqlite.py::test_the_log_moves_into_the_database_while_it_is_open",
        "storage/catalogue/test_sqlite.py::test_a_long_reader_does_not_stop_the_writer",
    ),
    "F21 a clock that jumps or is wrong": (
        "suites/cataloguing/versions.py::test_time_never_goes_back",
        "gateway/cli/test_bootstrap.py::test_a_clock_before_this_release_is_refused",
        "gateway/cli/check/test_clock.py::test_a_clock_that_jumps_is_told",
        "gateway/engine/test_rewrap.py::test_epochs_rise_though_the_clock_goes_back",
    ),
    "F22 a gateway that stood still": (
        "several/test_leases.py::test_who_stood_still_longer_than_its_lease_commits_nothing_under_it",
        "several/test_gateways.py::test_a_paused_gateway_holds_nothing_up_and_commits_nothing_late",
        "suites/cataloguing/upkeep.py::test_a_write_under_a_lease_is_refused_once_another_has_it",
        "storage/catalogue/postgres/test_faults.py::test_who_stands_still_in_a_transaction_loses_it_and_then_its_lease",
    ),
    "F23 a network that is cut, slow or silent": (
        "storage/blobs/s3/test_silence.py::test_no_answer_is_waited_for_without_end",
        "storage/blobs/s3/test_silence.py::test_no_connection_is_waited_for_without_end",
        "storage/blobs/s3/test_silence.py::test_a_backend_that_is_slow_and_gets_on_is_waited_for",
        "storage/catalogue/postgres/test_faults.py::test_all_connections_lost_is_not_noticed",
    ),
    "F25 another version beside or before this one": (
        "storage/catalogue/test_migration.py::test_a_newer_schema_and_one_too_old_are_refused",
        "storage/catalogue/test_migration.py::test_killed_on_the_way_it_is_the_old_one_or_the_new_one",
        "storage/catalogue/postgres/test_tampering.py::test_a_newer_schema_is_refused_also_by_who_has_it_open",
    ),
}
"""Faults by their numbers. Of F10 pages of SQLite are torn by a power loss alone, in the long form of F6; and of F25 no
older release runs beside: there is none.
"""

WANTED: Final = {f"F{number}" for number in (1, *range(5, 16), *range(18, 24), 25)}


@cache
def _functions(path: str) -> set[str]:
    tree = ast.parse((TESTS / path).read_text())
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}


def test_no_fault_is_left_out() -> None:
    assert {row.split()[0] for row in ROWS} == WANTED


@pytest.mark.parametrize("row", ROWS)
def test_every_fault_has_its_tests(row: str) -> None:
    for place in ROWS[row]:
        path, _, name = place.partition("::")
        assert name in _functions(path), f"{place} is gone"
