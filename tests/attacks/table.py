"""Every attack, what stops it, and the tests that show it.

Rows are attacks, in the words of TUF and Uptane where they have some. The table
in ``docs/explanation/security.md`` is this one; ``test_table.py`` holds the two together.
"""

from typing import Final, NamedTuple


class Row(NamedTuple):
    """One attack.

    Attributes:
        attack: what somebody tries.
        stopped_by: why it does not work, or what it is reduced to.
        tests: names of test functions in this folder.
    """

    attack: str
    stopped_by: str
    tests: tuple[str, ...]


TABLE: Final = (
    Row(
        "arbitrary software by the network or the broker",
        "digests that release keys have signed, down to each chunk",
        (
            "test_tampered_artifact",
            "test_tampered_artifact_is_healed_by_an_honest_controller",
            "test_tampered_manifest",
            "test_tampered_timestamp",
            "test_tampered_role",
        ),
    ),
    Row(
        "a model swapped under the same name",
        "the path's digest is signed, and the device remembers which bytes a path was",
        ("test_model_swapped_under_the_same_name", "test_manifest_of_another_model_under_a_signed_path"),
    ),
    Row(
        "golden vectors swapped",
        "their digest stands in the signed manifest",
        ("test_golden_vectors_swapped",),
    ),
    Row("a partial bundle", "a release is all of its files, or nothing", ("test_partial_bundle",)),
    Row(
        "injected commands",
        "nothing unsigned is acted on; mutual TLS and topic rules besides",
        (
            "test_forged_assignment",
            "test_assignment_signed_by_another_key",
            "test_a_refusal_is_reported_once",
            "test_refusals_without_end",
        ),
    ),
    Row("another device's document", "the device's id is in it", ("test_assignment_for_another_device",)),
    Row(
        "rollback by a replay",
        "versions only grow, in TUF's memory and in the device's own",
        ("test_older_assignment_replayed", "test_older_metadata_replayed"),
    ),
    Row("mix and match", "one signed snapshot of all versions", ("test_mix_and_match",)),
    Row("freeze", "expiry against a trusted clock", ("test_freeze",)),
    Row(
        "withheld metadata, a 404 for roots",
        "the assignment demands the versions that the director has seen",
        ("test_withheld_metadata", "test_404_for_roots", "test_director_root_withheld"),
    ),
    Row(
        "endless data, a zip bomb",
        "every length is bounded before it is read",
        ("test_endless_timestamp", "test_endless_document", "test_endless_chunk", "test_zip_bomb"),
    ),
    Row(
        "slow retrieval, one byte a second",
        "a deadline for each chunk, for a whole refresh, and a least rate",
        ("test_slow_retrieval_of_metadata", "test_slow_retrieval_of_a_blob", "test_slow_retrieval_over_http"),
    ),
    Row(
        "two documents of one version (equivocation)",
        "the digest of the accepted one is kept",
        ("test_equivocation",),
    ),
    Row(
        "stolen director key",
        "the image repository has to agree: only released, compatible, not withdrawn and not too old models",
        (
            "test_stolen_director_key_names_other_bytes",
            "test_stolen_director_key_describes_another_release",
            "test_stolen_director_key_orders_a_withdrawn_version",
            "test_stolen_director_key_orders_other_hardware",
            "test_stolen_director_key_orders_an_older_release",
            "test_stolen_director_key_goes_below_the_release_keys_floor",
            "test_director_key_replaced",
            "test_director_key_replaced_while_the_device_was_away",
            "test_stolen_director_key_signs_for_years",
            "test_one_more_director_key_lets_nothing_begin_again",
            "test_director_root_below_the_threshold",
        ),
    ),
    Row(
        "stolen snapshot and timestamp keys",
        "they sign no target and no assignment; versions of roles only grow",
        (
            "test_stolen_online_keys_add_no_target",
            "test_stolen_online_keys_address_no_device",
            "test_stolen_online_keys_roll_a_role_back",
            "test_stolen_online_keys_roll_back_a_wiped_device",
        ),
    ),
    Row(
        "fast forward",
        "a root that replaces all keys of a role lets versions, and the clock's floor, begin again",
        ("test_fast_forward", "test_director_key_replaced_after_a_fast_forward"),
    ),
    Row(
        "numbers that no reader can hold, under a stolen key",
        "versions, counters, lengths and times end at 2**53; a surprise in a message ends no process",
        (
            "test_stolen_timestamp_key_signs_an_endless_number",
            "test_stolen_director_key_signs_an_endless_number",
        ),
    ),
    Row(
        "stolen release key below the threshold",
        "two signatures of different keys are needed",
        ("test_stolen_release_key_below_the_threshold", "test_stolen_release_key_signs_twice"),
    ),
    Row(
        "stolen key of a model's role",
        "a role signs below its own path only",
        ("test_stolen_model_key_signs_another_models_path",),
    ),
    Row(
        "stolen or lost root key",
        "a threshold of the old root's keys and of the new one's; no version is skipped",
        (
            "test_stolen_root_key_below_the_threshold",
            "test_root_signed_by_new_keys_only",
            "test_root_versions_skipped",
            "test_lost_root_key_is_replaced",
        ),
    ),
    Row(
        "a clock eleven years off",
        "a floor that signed documents raise, and the controller's time over the device's own nonce",
        ("test_clock_eleven_years_slow", "test_clock_eleven_years_fast", "test_replayed_time"),
    ),
    Row(
        "the device's cache or disk edited",
        "the enrolled root is the anchor, memory lies elsewhere, files are hashed when they are loaded",
        (
            "test_emptied_cache_forgets_nothing",
            "test_foreign_root_in_the_cache",
            "test_garbage_in_the_cache",
            "test_model_edited_after_its_verification",
            "test_running_model_edited_on_disk",
            "test_manifest_edited_on_disk",
            "test_boot_without_a_network",
        ),
    ),
    Row(
        "an older disk image restored",
        "not by the device; the controller sees its counters go back",
        ("test_whole_disk_restored",),
    ),
    Row("a cloned device", "two lines of counters alternate; the controller tells", ("test_cloned_device",)),
    Row(
        "forged or foreign reports and acknowledgements",
        "each is signed by its sender's key",
        (
            "test_forged_report",
            "test_report_about_another_device",
            "test_report_of_a_revoked_device",
            "test_forged_acknowledgement",
        ),
    ),
    Row(
        "a stolen, replayed or guessed enrolment token",
        "used once, for a time, for one device or one set of tags; few guesses a minute, which write nothing",
        (
            "test_enrolment_token_guessed",
            "test_enrolment_token_replayed",
            "test_a_used_token_is_good_for_its_own_key_alone",
            "test_stolen_enrolment_token",
            "test_free_token_takes_no_devices_place",
        ),
    ),
    Row(
        "somebody else's identity",
        "the subject comes from the token, the request proves its key, the authority is ours",
        (
            "test_request_names_another_subject",
            "test_anothers_public_key",
            "test_certificate_of_another_authority_renewed",
        ),
    ),
    Row(
        "renewals without end",
        "eight certificates of one device within 30 days",
        ("test_certificate_renewed_without_end",),
    ),
    Row(
        "labels told by a program that nobody asked, or a page in a browser of the same machine",
        "the agent listens on loopback only, and each request shows a token that only its own user can read",
        ("test_labels_told_without_the_token", "test_silent_callers_starve_no_label"),
    ),
    Row(
        "idle connections that starve the door",
        "few from one address, all bounded, and each has ten seconds to ask something",
        ("test_idle_connections_leave_room_for_others", "test_silent_connections_end"),
    ),
    Row(
        "a revoked device",
        "its connection ends, the broker refuses it, and it cannot renew",
        ("test_revoked_device", "test_revoked_certificate_renewed"),
    ),
    Row(
        "a device that speaks as another, or reads its topics",
        "topic rules by certificate; nothing is delivered",
        ("test_device_speaks_as_another", "test_device_reads_anothers_topics"),
    ),
    Row(
        "a device that claims another's tags or hardware",
        "what its token and its enrolment say stays; its own tags are few",
        ("test_device_takes_anothers_tags_or_hardware",),
    ),
    Row(
        "a disk filled by a device with valid credentials",
        "six topics of its own, a bound on the broker's store, and budgets of a day for what is kept of it",
        (
            "test_device_fills_the_brokers_disk",
            "test_device_fills_the_database_with_long_texts",
            "test_device_fills_the_disk_with_samples_and_events",
            "test_device_names_outboxes_without_end",
        ),
    ),
    Row(
        "a chunk poisoned by a device with valid credentials",
        "topic rules; without them its digest, and the controller publishes it again",
        ("test_chunk_poisoned_by_a_device", "test_poisoned_chunk_where_the_broker_has_no_rules"),
    ),
    Row(
        "retained topics deleted by a device with valid credentials",
        "topic rules; without them the running model goes on, and what lacks is asked for",
        (
            "test_retained_topics_deleted_by_a_device",
            "test_retained_topics_deleted_where_the_broker_has_no_rules",
        ),
    ),
    Row(
        "a holder of a key is asked to sign what he is not shown",
        "his own machine reads the document, and believes a former list only where a key he knows signed it",
        ("test_forged_request_for_signatures", "test_request_over_an_older_list"),
    ),
    Row(
        "a malicious build, wrong inputs",
        "a signed statement of inputs, result and gates is checked before a release is signed",
        (
            "test_build_of_other_inputs",
            "test_artifact_swapped_after_the_gates",
            "test_build_by_a_foreign_builder",
        ),
    ),
    Row(
        "a tampered model folder",
        "its signature names exactly the files that it has",
        ("test_tampered_model_directory",),
    ),
    Row(
        "a confidential model read from the broker, a backup or another device",
        "its blobs are encrypted, and the key is wrapped for each device's key",
        (
            "test_confidential_model_read_from_broker_or_backup",
            "test_confidential_model_read_by_another_device",
            "test_confidential_blob_in_another_place",
        ),
    ),
    Row(
        "an order to measure candidates that is replayed, foreign, forged or endless",
        "it is verified as an assignment is, read only where the device's owner said so, and bounded by him",
        (
            "test_order_for_another_device",
            "test_order_replayed",
            "test_two_orders_of_one_number",
            "test_order_on_a_device_that_did_not_opt_in",
            "test_order_signed_by_another_key",
            "test_order_that_lasts_for_years",
            "test_order_of_a_date_to_come",
            "test_orders_without_end",
            "test_orders_that_replace_each_other",
            "test_endless_trial",
        ),
    ),
    Row(
        "a candidate that nobody released, made to decide",
        "no order reads as an assignment; a candidate is measured in a process on trial and then dropped",
        (
            "test_order_shown_as_an_assignment",
            "test_assignment_shown_as_an_order",
            "test_candidate_with_other_bytes",
            "test_candidate_that_describes_another_one",
        ),
    ),
    Row(
        "a person beyond his role, a stolen person's token",
        "a role for every route; tokens are taken back at once and stored as digests",
        (
            "test_viewer_revokes_a_device",
            "test_admin_of_one_model_makes_an_admin_of_all",
            "test_stolen_operator_token",
            "test_stolen_backup_of_the_database",
        ),
    ),
    Row(
        "labels told by whoever may not",
        "a role and a scope for each way of telling; a page's form comes from this origin",
        (
            "test_viewer_labels_frames",
            "test_label_for_another_models_frame",
            "test_foreign_page_labels_frames",
        ),
    ),
    Row(
        "labels that lie, or that run somewhere",
        "audits outrank and set aside; what is told is text on every page and in every export",
        ("test_source_tells_lies", "test_formula_in_a_label", "test_page_in_place_of_a_picture"),
    ),
    Row(
        "a robot that speaks as a person, or under names of its own",
        "no device has a person's name; robots are held against all that tell labels; few names a robot",
        ("test_robot_speaks_as_a_person", "test_robot_invents_sources"),
    ),
    Row(
        "an edited audit log",
        "a chain of digests, and signed heads that lie elsewhere",
        (
            "test_audit_log_rewritten_through_the_database",
            "test_audit_log_edited",
            "test_audit_log_edited_with_a_new_digest",
            "test_audit_log_cut_off",
        ),
    ),
)


def markdown() -> str:
    """The table as the documentation shows it."""
    rows = [
        f"| {row.attack} | {row.stopped_by} | {', '.join(f'`{test}`' for test in row.tests)} |"
        for row in TABLE
    ]
    return "\n".join(["| attack | what stops it | shown by |", "|---|---|---|", *rows]) + "\n"
