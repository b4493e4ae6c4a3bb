//! What an account sees, on the embedded backend.

use embedded::{Embedded, Options};
use schema::contract::{faults, limits, races, stories};

macro_rules! stories {
    ($of:ident: $($name:ident)*) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
            async fn $name() {
                let dir = tempfile::tempdir().unwrap();
                let embedded = Embedded::open(&dir.path().join("data"), Options::default()).unwrap();
                $of::$name(embedded.backend(), dir.path()).await;
            }
        )*
    };
}

stories! {
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
    the_index_tells_how_far_it_has_read
}

stories! {
    races:
    threads_survive_a_race
    a_quota_that_is_set_is_not_undone_by_a_look
    what_is_left_of_a_thread_is_listed
    a_thread_listed_at_a_wrong_time_is_shown_at_the_right_one
    a_thread_is_moved_while_its_messages_change
    a_sign_in_in_progress_does_not_outlive_a_lock
    a_purge_that_was_cut_short_is_finished_by_its_job
    a_message_of_too_many_keywords_can_be_deleted
    what_an_account_holds_is_counted_once
}

stories! {
    limits:
    an_account_has_so_many_mailboxes_and_no_more
    an_account_has_so_many_addresses_and_no_more
}

stories! {
    faults:
    an_answer_that_gets_lost_is_not_counted_wrong
}
