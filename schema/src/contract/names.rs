//! The names of all that every backend must do, in one place, so that no backend leaves any out.

/// Hands the names of the functions of all parts to the macro `$each`: see [`store_contract`](crate::store_contract).
#[macro_export]
macro_rules! contract_of_parts {
    ($each:ident) => {
        $crate::store_contract! { $each }
        $crate::blobs_contract! { $each }
        $crate::cache_contract! { $each }
        $crate::queue_contract! { $each }
    };
}

/// Hands the names of the functions of the store to the macro `$each`, which makes a test of each: those before
/// `shared:` take a reference, those after it an `Arc`.
#[macro_export]
macro_rules! store_contract {
    ($each:ident) => {
        $each! {
            store as store: dyn MailStore;
            values_come_in_the_order_of_their_keys
            what_was_written_is_seen
            the_last_write_to_a_row_counts
            each_of_many_writes_is_carried_out
            a_repeated_write_changes_nothing
            no_writes_are_no_error
            rows_of_other_tables_and_partitions_are_others
            a_scan_gives_the_rows_within_its_bounds_in_order
            a_scan_of_an_empty_partition_is_empty
            a_partition_of_the_greatest_octets_is_scanned_whole
            partitions_come_in_pages
            a_partition_comes_once_however_large_it_is
            a_replace_of_what_is_there_succeeds
            a_replace_of_something_else_writes_nothing
            a_feed_replayed_in_pages_is_whole_and_in_order
            an_empty_feed_keeps_the_cursor
            a_change_comes_back_as_it_was_written
            the_position_is_that_of_the_newest_entry
            an_entry_is_shown_once_it_is_durable
            forgotten_changes_expire_their_cursors
            the_position_of_a_forgotten_feed_can_be_gone_on_from
            forgetting_nothing_expires_nothing
            removing_an_account_removes_its_rows_only
            removing_a_large_account_removes_all_of_it;
            shared: one_of_many_racing_replaces_succeeds no_entry_appears_behind_a_cursor
        }
    };
}

/// Hands the names of the functions of the blobs to the macro `$each`: see [`store_contract`](crate::store_contract).
#[macro_export]
macro_rules! blobs_contract {
    ($each:ident) => {
        $each! {
            blobs as blobs: dyn BlobStore;
            chunks_come_back_in_order
            several_come_back_in_the_order_of_their_ids
            a_large_blob_comes_back_whole
            many_chunks_stay_in_order
            a_repeated_put_changes_nothing
            new_chunks_replace_the_old_as_a_whole
            blobs_of_other_accounts_are_others
            a_removed_blob_is_gone
            removing_an_account_removes_its_blobs_only
            ids_come_in_pages_in_order
            an_account_of_the_greatest_octets_has_blobs;
            shared: racing_puts_never_mix_their_chunks
        }
    };
}

/// Hands the names of the functions of the cache to the macro `$each`: see [`store_contract`](crate::store_contract).
#[macro_export]
macro_rules! cache_contract {
    ($each:ident) => {
        $each! {
            cache as cache: dyn Cache;
            a_kept_value_is_found
            a_new_value_replaces_the_old
            a_removed_value_is_forgotten
            a_value_is_kept_for_its_time_at_most
            a_count_grows_by_one
            a_count_is_no_value
            a_count_starts_anew_after_its_time
            who_watches_an_account_hears_of_its_changes;
            shared:
        }
    };
}

/// Hands the names of the functions of the queue to the macro `$each`: see [`store_contract`](crate::store_contract).
#[macro_export]
macro_rules! queue_contract {
    ($each:ident) => {
        $each! {
            queue as queue: dyn JobQueue;
            jobs_are_leased_in_order
            a_job_comes_back_as_it_was_published
            no_jobs_are_no_error
            a_lease_takes_no_more_than_asked
            a_lease_of_an_empty_queue_ends_after_its_wait
            a_lease_that_ran_out_is_given_to_the_next
            a_job_whose_lease_runs_out_too_often_is_a_dead_letter
            an_acked_job_is_done
            an_ack_of_an_unknown_id_is_ignored
            an_ack_after_the_lease_is_ignored
            a_retried_job_comes_back_after_its_delay
            a_delayed_job_holds_nobody_up
            released_jobs_are_ready_at_once
            a_buried_job_is_a_dead_letter
            dead_letters_come_in_pages_in_order
            a_requeued_dead_letter_is_a_job_again
            the_depth_counts_every_job_once;
            shared: a_waiting_worker_gets_a_new_job a_leased_job_is_leased_once nothing_is_lost_under_load
        }
    };
}

/// Hands the names of the stories of each module to the macro `$each`: they take a backend of their own and a directory
/// for keys.
#[macro_export]
macro_rules! contract_of_stories {
    ($each:ident) => {
        $each! {
            stories:
            a_kept_message_is_listed_and_comes_back_byte_for_byte
            the_same_bytes_are_one_message
            a_row_put_in_the_place_of_another_does_not_open
            the_same_bytes_at_once_are_one_message
            pages_hold_every_message_once
            a_patch_changes_lists_and_totals
            a_final_delete_lasts
            the_mark_of_a_final_delete_goes_after_its_time
            threads_do_not_depend_on_the_order
            a_bare_reply_joins_by_subject
            the_feed_replays_to_the_state
            old_changes_are_forgotten
            recipients_are_resolved
            mailboxes_of_one_name_are_one
            a_quota_is_met
            a_quota_is_changed
            sessions_begin_and_end
            keys_rotate_and_purge
            a_node_is_listed_while_it_lives_and_drains_when_asked
            a_periodic_job_is_run_by_one_when_it_is_due
        }

        $each! {
            progress:
            the_index_tells_how_far_it_has_read
            an_old_message_that_waits_is_known_of_on_every_node
            a_row_that_is_long_under_way_is_known_of_on_every_node
            old_messages_of_nodes_whose_clocks_differ_are_known_of
            notes_of_old_messages_go_after_a_day
        }

        $each! {
            listings:
            what_is_left_of_a_thread_is_listed
            a_thread_listed_at_a_wrong_time_is_shown_at_the_right_one
            what_is_listed_while_it_is_written_stays_listed
            what_comes_to_a_place_that_was_left_is_listed
            what_comes_late_while_it_is_listed_stays_listed
            a_listing_takes_away_what_is_left_of_races
        }

        $each! {
            races:
            threads_survive_a_race
            a_quota_that_is_set_is_not_undone_by_a_look
            a_thread_is_moved_while_its_messages_change
            a_sign_in_in_progress_does_not_outlive_a_lock
            a_purge_that_was_cut_short_is_finished_by_its_job
            a_message_of_too_many_keywords_can_be_deleted
            what_an_account_holds_is_counted_once
            a_message_is_gone_as_soon_as_its_delete_is_decided
            what_comes_back_keeps_its_bytes
        }

        $each! {
            limits:
            an_account_has_so_many_mailboxes_and_no_more
            an_account_has_so_many_addresses_and_no_more
        }

        $each! {
            shared:
            a_session_that_ends_on_one_node_is_over_on_every_other
            a_list_that_was_read_before_shows_what_has_changed_since
            a_list_is_not_read_again_until_something_changes
            a_list_row_at_a_wrong_time_hides_nothing
        }

        $each! {
            faults:
            an_answer_that_gets_lost_is_not_counted_wrong
            a_delivery_that_lost_any_of_its_rows_is_completed_by_the_next
            a_row_made_of_the_bytes_gives_way_to_that_of_its_delivery
        }
    };
}
