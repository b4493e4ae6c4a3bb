//! From an envelope and its bytes to the accounts: who takes a message, and whether it is kept.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::{StreamExt, stream};
use schema::{Account, AccountId, Arrival, Envelope, Error, Incoming, Instance, Millis};
use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::time::{Instant, timeout_at};

use crate::budget::Budget;
use crate::received::received_at;
use crate::reply::Reply;

/// A message of more octets than this is read and packed where blocking is allowed.
const LARGE: usize = 256 << 10;
/// A message of more octets than this is sealed and written there too.
const VERY_LARGE: usize = 1 << 20;

/// A recipient that was accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recipient {
    /// As it stood in RCPT, without a source route.
    pub address: String,
    /// Whose it is.
    pub account: AccountId,
}

/// A message that has arrived as a whole.
#[derive(Debug, Clone, Copy)]
pub struct Submission<'a> {
    /// MAIL FROM; `None` is the null sender.
    pub sender: Option<&'a str>,
    /// In the order of their RCPT.
    pub recipients: &'a [Recipient],
    /// The bytes as received.
    pub message: &'a [u8],
    /// Whether a relay of ours sent it, whose `Received:` can be believed.
    pub from_relay: bool,
    /// How long keeping it may take.
    pub patience: Duration,
}

/// Where a session's recipients and messages go.
#[async_trait]
pub trait Delivery: Send + Sync {
    /// Whose address this is.
    ///
    /// # Errors
    /// The reply that refuses or defers it.
    async fn accepts(&self, recipient: &str) -> Result<AccountId, Reply>;

    /// Keeps a message for each recipient; one reply for each of them, in their order. A 250 means that the message
    /// is durable.
    async fn deliver(&self, submission: Submission<'_>) -> Vec<Reply>;
}

/// Delivery to the accounts of an instance.
pub struct Accounts(Arc<Instance>);

impl Accounts {
    /// Those of `instance`.
    pub fn new(instance: Arc<Instance>) -> Self {
        Self(instance)
    }

    async fn keep(&self, incoming: &Incoming<'_>, id: AccountId, arrival: Arrival) -> Reply {
        let kept = match self.0.account(id).await {
            Ok(Some(account)) => keep_for(&account, incoming, arrival).await,
            // It was purged after its RCPT.
            Ok(None) => return Reply::UNKNOWN_ADDRESS,
            Err(error) => Err(error),
        };
        match kept {
            Ok(()) => Reply::KEPT,
            Err(Error::Limit { .. }) => Reply::OVER_QUOTA,
            Err(error) => fault(&error, "a message was not kept"),
        }
    }

    async fn keep_for_all(
        &self,
        incoming: &Incoming<'_>,
        submission: Submission<'_>,
        received_at: Option<Millis>,
    ) -> Vec<Reply> {
        let Submission { sender, recipients, message, patience, .. } = submission;
        let deadline = Instant::now() + patience;
        let one = |at: usize, recipient: &Recipient| {
            let arrival = Arrival {
                envelope: Envelope {
                    sender: sender.map(str::to_owned),
                    recipient: Some(recipient.address.clone()),
                },
                received_at,
                mailbox: None,
                keywords: BTreeSet::new(),
                revive: false,
            };
            let account = recipient.account;
            async move {
                let kept = timeout_at(deadline, self.keep(incoming, account, arrival)).await;
                (at, kept.unwrap_or_else(|_| too_slow()))
            }
        };
        if let [recipient] = recipients {
            return vec![one(0, recipient).await.1];
        }
        let mut replies = vec![Reply::FAULT; recipients.len()];
        // An account that is named twice gets one message, for the first of its recipients.
        let mut firsts = HashMap::with_capacity(recipients.len());
        let mut deliveries = Vec::with_capacity(recipients.len());
        for (at, recipient) in recipients.iter().enumerate() {
            firsts.entry(recipient.account).or_insert_with(|| {
                deliveries.push(one(at, recipient));
                at
            });
        }
        // Together, so that they share a commit.
        let at_once = Budget::recipients_at_once(message.len());
        let mut kept = stream::iter(deliveries).buffer_unordered(at_once);
        while let Some((at, reply)) = kept.next().await {
            replies[at] = reply;
        }
        recipients.iter().map(|recipient| replies[firsts[&recipient.account]]).collect()
    }
}

async fn keep_for(account: &Account, incoming: &Incoming<'_>, arrival: Arrival) -> Result<(), Error> {
    account.keep(incoming, arrival).await.map(|_| ())
}

#[async_trait]
impl Delivery for Accounts {
    async fn accepts(&self, recipient: &str) -> Result<AccountId, Reply> {
        match self.0.resolve(recipient).await {
            Ok(schema::Recipient::Account(id)) => Ok(id),
            Ok(schema::Recipient::OverQuota) => Err(Reply::OVER_QUOTA),
            Ok(schema::Recipient::UnknownAddress) => Err(Reply::UNKNOWN_ADDRESS),
            Ok(schema::Recipient::UnknownDomain) => Err(Reply::UNKNOWN_DOMAIN),
            Err(error) => Err(fault(&error, "a recipient was not looked up")),
        }
    }

    async fn deliver(&self, submission: Submission<'_>) -> Vec<Reply> {
        let message = submission.message;
        let received_at = submission.from_relay.then(|| received_at(message, self.0.clock.now())).flatten();
        let prepare = || Incoming::prepare(message, &self.0.settings.limits);
        let incoming = if message.len() > LARGE { block(prepare) } else { prepare() };
        if message.len() > VERY_LARGE && may_block() {
            let handle = Handle::current();
            block(|| handle.block_on(self.keep_for_all(&incoming, submission, received_at)))
        } else {
            self.keep_for_all(&incoming, submission, received_at).await
        }
    }
}

/// A fault is never the message's: whatever kind it is, the relay sends again.
fn fault(error: &Error, what: &'static str) -> Reply {
    tracing::warn!(
        error = error as &(dyn std::error::Error + 'static),
        transient = error.is_transient(),
        "{what}"
    );
    Reply::FAULT
}

fn too_slow() -> Reply {
    tracing::warn!("a message was not kept in time");
    Reply::FAULT
}

/// Whether this runtime has other threads that go on while this one is busy.
fn may_block() -> bool {
    Handle::current().runtime_flavor() == RuntimeFlavor::MultiThread
}

fn block<T>(work: impl FnOnce() -> T) -> T {
    if may_block() { tokio::task::block_in_place(work) } else { work() }
}
