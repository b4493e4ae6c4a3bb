//! Backups, restores, and what a purge means for both.

use crate::support::{Lmtp, PASSWORD, Signet, message};

#[test]
fn a_restored_backup_from_before_a_purge_has_everything_but_the_purged_account() {
    let mut signet = Signet::started();
    let anna = signet.create_account("anna@localhost");
    signet.create_account("boris@localhost");
    let mut session = Lmtp::connect(signet.lmtp).unwrap();
    for recipient in ["anna@localhost", "boris@localhost"] {
        assert_eq!(session.deliver(recipient, &message("kept", "before the backup")).unwrap(), 250);
    }
    let backup = signet.home.path().join("backup");
    signet.run(&["backup", backup.to_str().unwrap()]);
    assert!(!signet.output_of(&["backup", backup.to_str().unwrap()], "").status.success());
    assert_eq!(session.deliver("boris@localhost", &message("late", "after the backup")).unwrap(), 250);
    signet.run(&["account", "purge", "anna@localhost"]);
    signet.run(&["keys", "rotate"]);
    assert!(!signet.run(&["account", "list"]).contains("anna@localhost"));
    let (status, _) = signet.terminate();
    assert!(status.success());

    let into_old = signet.output_of(&["restore", backup.to_str().unwrap()], "");
    assert!(!into_old.status.success(), "data that exist are not overwritten");
    signet.data = signet.home.path().join("restored");
    let restored = signet.json(&["restore", backup.to_str().unwrap()]);
    assert_eq!(restored["purged"], 1, "{restored}");
    signet.start();
    assert!(!signet.run(&["account", "list"]).contains(&anna));
    assert!(!signet.output_of(&["account", "show", &anna], "").status.success());
    let mut session = Lmtp::connect(signet.lmtp).unwrap();
    assert_eq!(session.deliver("anna@localhost", &message("too late", "text")).unwrap(), 550);
    let subjects: Vec<_> = signet
        .client("boris@localhost", PASSWORD)
        .messages()
        .iter()
        .map(|head| head["subject"].clone())
        .collect();
    assert_eq!(subjects, ["kept"]);
    assert_eq!(signet.json(&["check"])["ok"], true);
}

#[test]
fn sessions_of_a_backup_are_over_when_it_is_restored() {
    let mut signet = Signet::started();
    signet.create_account("anna@localhost");
    let ended = signet.client("anna@localhost", PASSWORD);
    let open = signet.client("anna@localhost", PASSWORD);
    let backup = signet.home.path().join("backup");
    signet.run(&["backup", backup.to_str().unwrap()]);
    assert_eq!(ended.call("DELETE", "/v1/session", None).status, 204);
    assert_eq!(open.call("GET", "/v1/account", None).status, 200);
    signet.terminate();
    signet.data = signet.home.path().join("restored");
    signet.run(&["restore", backup.to_str().unwrap()]);
    signet.start();
    for session in [ended, open] {
        assert_eq!(session.call("GET", "/v1/account", None).status, 401);
    }
    let again = signet.client("anna@localhost", PASSWORD);
    assert_eq!(again.call("GET", "/v1/account", None).status, 200);
}

#[test]
fn a_restore_needs_the_key() {
    let mut signet = Signet::started();
    let backup = signet.home.path().join("backup");
    signet.run(&["backup", backup.to_str().unwrap()]);
    signet.kill();
    std::fs::rename(signet.home.path().join("config"), signet.home.path().join("away")).unwrap();
    signet.data = signet.home.path().join("restored");
    let refused = signet.output_of(&["restore", backup.to_str().unwrap()], "");
    assert_eq!(refused.status.code(), Some(78));
    assert!(!signet.data.exists());
}
