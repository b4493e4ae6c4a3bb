use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::ExitCode;

use embedded::{Embedded, Options};

use super::*;

struct Place {
    embedded: Embedded,
    directory: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let embedded = Embedded::open(&directory.path().join("data"), Options::default()).unwrap();
        Self { embedded, directory }
    }

    fn key(&self, name: &str) -> PathBuf {
        self.directory.path().join("keys").join(name).join("master.key")
    }

    async fn found(&self, name: &str) -> Result<Founded, Failure> {
        found(&config(&self.key(name)), self.embedded.backend()).await
    }
}

fn config(key: &Path) -> Config {
    let given = |name: &str| match name {
        "SIGNET_BACKEND" => Some("cluster".to_owned()),
        "SIGNET_MASTER_KEY_FILE" => Some(key.display().to_string()),
        _ => None,
    };
    Config::load(None, given, &[]).unwrap()
}

fn said(refused: Result<Founded, Failure>) -> String {
    refused.err().unwrap().to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn instance_and_keys_are_made_once() {
    let place = Place::new();
    assert!(find(place.embedded.backend().store.as_ref()).await.unwrap().is_none());
    let first = place.found("a").await.unwrap();
    assert!(first.is_new);
    assert_eq!(first.key_path, Some(place.key("a")));
    for path in [place.key("a"), first.epochs_path] {
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    }
    let again = place.found("a").await.unwrap();
    assert!(!again.is_new && again.id == first.id);
    assert_eq!(find(place.embedded.backend().store.as_ref()).await.unwrap(), Some((first.id, true)));
}

#[tokio::test(flavor = "multi_thread")]
async fn data_whose_key_is_missing_or_that_of_others_get_no_new_one() {
    let place = Place::new();
    place.found("a").await.unwrap();
    assert!(said(place.found("b").await).contains("is missing"));
    assert!(!place.key("b").exists());
    let other = Place::new();
    other.found("a").await.unwrap();
    let refused = said(found(&config(&other.key("a")), place.embedded.backend()).await);
    assert!(refused.contains("not that of these data"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_master_key_that_was_put_there_is_used_and_one_of_another_instance_is_not() {
    let place = Place::new();
    crate::directory::make(place.key("a").parent().unwrap()).unwrap();
    let text = format!("{}\n", "a5".repeat(32));
    std::fs::write(place.key("a"), &text).unwrap();
    std::fs::set_permissions(place.key("a"), std::fs::Permissions::from_mode(0o600)).unwrap();
    assert!(place.found("a").await.unwrap().is_new);
    assert_eq!(std::fs::read_to_string(place.key("a")).unwrap(), text);
    let other = Place::new();
    let epochs = std::fs::read(place.key("a").with_extension("epochs")).unwrap();
    let refused = said(found(&config(&place.key("a")), other.embedded.backend()).await);
    assert!(refused.contains("not that of these data"), "{refused}");
    assert_eq!(std::fs::read(place.key("a").with_extension("epochs")).unwrap(), epochs);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_cut_short_before_its_keys_were_made_is_finished() {
    let place = Place::new();
    let backend = place.embedded.backend();
    backend.store.replace(id_row(), None, Some(vec![9; 16]), vec![]).await.unwrap();
    let founded = place.found("a").await.unwrap();
    assert!(founded.is_new && founded.id == [9; 16]);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_several_at_the_same_time_all_find_the_keys_of_one() {
    let place = Place::new();
    let start = |name| {
        let (config, backend) = (config(&place.key(name)), place.embedded.backend());
        tokio::spawn(async move { found(&config, backend).await })
    };
    let started = [start("a"), start("a"), start("b")];
    let [one, two, elsewhere] = {
        let [one, two, elsewhere] = started;
        [one.await.unwrap(), two.await.unwrap(), elsewhere.await.unwrap()]
    };
    let made = [&one, &two, &elsewhere].map(|founded| founded.as_ref().is_ok_and(|founded| founded.is_new));
    assert!(made.iter().filter(|is_new| **is_new).count() == 1, "{made:?}");
    // Who has the files of the one goes on with them, and the other machine is told.
    assert_eq!(one.is_ok(), two.is_ok());
    assert_ne!(one.is_ok(), elsewhere.is_ok());
    for files in ["a", "b"] {
        let again = place.found(files).await;
        assert_eq!(again.is_ok(), if files == "a" { one.is_ok() } else { elsewhere.is_ok() });
    }
}

#[tokio::test(start_paused = true)]
async fn servers_that_are_away_are_waited_for_and_those_that_refuse_are_not() {
    let config = config(Path::new("/key"));
    let code = |failure: Failure| failure.report(false);
    let calls = std::cell::Cell::new(0);
    let away = || StartError::Unreachable { server: "Redis", reason: "it is away".into() };
    let call = async || {
        calls.set(calls.get() + 1);
        if calls.get() < 4 { Err(away()) } else { Ok(()) }
    };
    patiently(&config, call).await.unwrap();
    assert_eq!(calls.get(), 4);
    let unusable =
        async || Err::<(), _>(StartError::Unusable { server: "Redis", reason: "wrong password".into() });
    let refused = patiently(&config, unusable).await.unwrap_err();
    assert!(refused.to_string().contains("wrong password"));
    assert_eq!(code(refused), ExitCode::from(78));
    let began = Instant::now();
    let gone = patiently(&config, async || Err::<(), _>(away())).await.unwrap_err();
    assert!((54..=60).contains(&began.elapsed().as_secs()), "{:?}", began.elapsed());
    assert_eq!(code(gone), ExitCode::from(69));
}
