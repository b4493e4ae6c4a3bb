//! What one running Signet shares, and the handle on one account.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use moka::sync::Cache;
use seal::{AccountKeys, KeyFile};

use crate::counts::Counts;
use crate::foreseen::Foreseen;
use crate::keyring::Keyring;
use crate::locks::Locks;
use crate::opened::Opened;
use crate::progress::Unindexed;
use crate::remembered::Remembered;
use crate::{AccountId, Backend, Clock, MailboxId, Millis, Result, Role};

/// What can be set for the whole instance.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// What reading one message may cost.
    pub limits: mail::Limits,
    /// Octets that a new account may hold; `None` = no limit.
    pub quota: Option<u64>,
    /// Hours that a sign-in lasts, 1–8760.
    pub session_hours: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Self { limits: mail::Limits::default(), quota: None, session_hours: 24 * 7 }
    }
}

/// What one running Signet shares: backend, keys, clock, settings.
pub struct Instance {
    /// Where everything is kept.
    pub backend: Backend,
    /// Tells the time.
    pub clock: Arc<dyn Clock>,
    /// What can be set.
    pub settings: Settings,
    pub(crate) keyring: Keyring,
    /// Tells rows of this process from those of others.
    pub(crate) process: [u8; 16],
    started: Instant,
    /// Microseconds after `started` at which a message was last being kept.
    kept_at: AtomicU64,
    pub(crate) locks: Locks,
    pub(crate) counts: Cache<AccountId, Arc<Counts>>,
    pub(crate) quotas: Cache<AccountId, Option<u64>>,
    pub(crate) opened: Opened,
    pub(crate) foreseen: Foreseen,
    pub(crate) remembered: Remembered,
    pub(crate) unindexed: Cache<AccountId, Arc<std::sync::Mutex<Unindexed>>>,
}

/// How long what another process may change is remembered.
const REMEMBERED: Duration = Duration::from_secs(30);

/// A cache of so many entries, each for `time` at most.
fn remembering<K, V>(entries: u64, time: Option<Duration>) -> Cache<K, V>
where
    K: std::hash::Hash + Eq + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    let builder = Cache::builder().max_capacity(entries);
    match time {
        Some(time) => builder.time_to_live(time).build(),
        None => builder.build(),
    }
}

impl Instance {
    /// Opens what `backend` holds with the keys in `key_file`; makes the instance's key if the backend is new.
    ///
    /// # Errors
    /// [`crate::Error::Sealed`] if the keys are not those of this instance.
    pub async fn open(
        backend: Backend,
        key_file: KeyFile,
        instance_id: [u8; 16],
        clock: Arc<dyn Clock>,
        settings: Settings,
    ) -> Result<Arc<Self>> {
        let remembered = backend.is_shared.then_some(REMEMBERED);
        let keyring = Keyring::open(backend.store.clone(), key_file, instance_id).await?;
        Ok(Arc::new(Self {
            backend,
            clock,
            settings,
            keyring,
            process: uuid::Uuid::new_v4().into_bytes(),
            started: Instant::now(),
            kept_at: AtomicU64::new(0),
            locks: Locks::default(),
            counts: remembering(100_000, remembered),
            quotas: remembering(100_000, remembered),
            opened: Opened::new(),
            foreseen: Foreseen::new(),
            remembered: Remembered::new(),
            unindexed: Cache::new(100_000),
        }))
    }

    /// The id of this instance, which its keys are bound to.
    pub fn id(&self) -> [u8; 16] {
        self.keyring.instance_id()
    }

    /// What stands for `bytes` of the kind `domain` where they must not be read: a keyed hash, the same on every node.
    pub fn hash(&self, domain: &'static str, bytes: &[u8]) -> [u8; 32] {
        self.keyring.instance().hash(domain, bytes)
    }

    /// Opens an account; `None` if there is none with this id (any more).
    pub async fn account(self: &Arc<Self>, id: AccountId) -> Result<Option<Account>> {
        let keys = self.keyring.account(id).await?;
        Ok(keys.map(|keys| Account { id, keys, instance: self.clone() }))
    }

    /// For how long no message has been kept: background work yields while this is short.
    pub fn quiet_for(&self) -> Duration {
        self.started.elapsed().saturating_sub(Duration::from_micros(self.kept_at.load(Ordering::Relaxed)))
    }

    /// Notes that a message is being kept.
    pub(crate) fn note_keeping(&self) {
        let micros = u64::try_from(self.started.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.kept_at.store(micros, Ordering::Relaxed);
    }

    pub(crate) fn now(&self) -> Millis {
        self.clock.now()
    }
}

/// One account, opened. Every call on it names this account's rows only, so that nothing reached through it can be
/// another's.
#[derive(Clone)]
pub struct Account {
    pub(crate) id: AccountId,
    pub(crate) keys: Arc<AccountKeys>,
    pub(crate) instance: Arc<Instance>,
}

impl Account {
    /// Which account.
    pub fn id(&self) -> AccountId {
        self.id
    }

    /// Its keys.
    pub fn keys(&self) -> &AccountKeys {
        &self.keys
    }

    /// The instance it lives on.
    pub fn instance(&self) -> &Arc<Instance> {
        &self.instance
    }

    pub(crate) fn backend(&self) -> &Backend {
        &self.instance.backend
    }

    /// The first 16 octets of a keyed digest: what rows are found by instead of the text itself.
    pub(crate) fn hash16(&self, domain: &'static str, parts: &[&[u8]]) -> [u8; 16] {
        *self.keys.digest(domain, parts).first_chunk().expect("a digest has 32 octets")
    }

    /// The mailbox that has a role. Its id follows from the account's key, so that it needs no look-up.
    pub fn role_mailbox(&self, role: Role) -> MailboxId {
        MailboxId(crate::uuid_v8(&self.keys.digest("mailbox of a role", &[role.name().as_bytes()])))
    }
}

impl std::fmt::Debug for Account {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Account").field(&self.id).finish()
    }
}
