//! The embedded backend does what every backend must do: on a fresh directory, and on one that was opened again.

#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::sync::Arc;

use embedded::{Embedded, Options};
use schema::{BlobStore, Cache, JobQueue, MailStore};

fn open(dir: &Path) -> Embedded {
    Embedded::open(dir, Options::default()).unwrap()
}

/// A directory that has been in use, was left without being closed, and is opened again.
fn reopened(dir: &Path) -> Embedded {
    drop(open(dir));
    open(dir)
}

/// A directory that has been in use, was closed cleanly, and is opened again.
fn closed(dir: &Path) -> Embedded {
    open(dir).close().unwrap();
    open(dir)
}

/// One test for each function and each way to open, on a runtime of several threads and on one of a single thread.
macro_rules! contract {
    ($part:ident as $field:ident: $trait:ty; $($name:ident)* ; shared: $($shared:ident)*) => {
        mod $part {
            use super::*;

            $(
                #[tokio::test]
                async fn $name() {
                    for open in [open, reopened, closed] {
                        let dir = tempfile::tempdir().unwrap();
                        let backend = open(dir.path()).backend();
                        let part: &$trait = &*backend.$field;
                        schema::contract::$part::$name(part).await;
                    }
                }
            )*
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
                async fn $shared() {
                    for open in [open, reopened, closed] {
                        let dir = tempfile::tempdir().unwrap();
                        let part: Arc<$trait> = open(dir.path()).backend().$field;
                        schema::contract::$part::$shared(part).await;
                    }
                }
            )*
        }
    };
}

contract! {
    store as store: dyn MailStore;
    values_come_in_the_order_of_their_keys
    what_was_written_is_seen
    the_last_write_to_a_row_counts
    a_repeated_write_changes_nothing
    no_writes_are_no_error
    rows_of_other_tables_and_partitions_are_others
    a_scan_gives_the_rows_within_its_bounds_in_order
    a_scan_of_an_empty_partition_is_empty
    a_partition_of_the_greatest_octets_is_scanned_whole
    partitions_come_in_pages_in_order
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

contract! {
    blobs as blobs: dyn BlobStore;
    chunks_come_back_in_order
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

contract! {
    cache as cache: dyn Cache;
    a_kept_value_is_found
    a_new_value_replaces_the_old
    a_removed_value_is_forgotten
    a_value_is_kept_for_its_time_at_most
    a_count_grows_by_one
    a_count_is_no_value
    a_count_starts_anew_after_its_time;
    shared:
}

contract! {
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
