//! The tables and how their rows are addressed.
//!
//! A row is found by its partition (which rows live together) and its clustering (their order inside it); a value is
//! sealed, or holds nothing but ids, numbers and keyed hashes. That is all a store needs to know.

use std::ops::Bound;

use crate::{AccountId, DiscussionId, MailboxId, MessageId, Millis, ThreadId};

macro_rules! tables {
    ($($(#[$doc:meta])* $name:ident = $number:literal $text:literal,)*) => {
        /// Every table. The number is part of the embedded key, the name of the associated data of sealed values:
        /// neither ever changes.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u8)]
        pub enum Table {
            $($(#[$doc])* $name = $number,)*
        }

        impl Table {
            /// All of them, in the order of their numbers.
            pub const ALL: &'static [Table] = &[$(Table::$name),*];

            /// The table's name, as in Cassandra and in associated data.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Table::$name => $text,)*
                }
            }
        }
    };
}

tables! {
    /// What belongs to the whole instance, by name.
    Instance = 1 "instance",
    /// What we host. Clustering: keyed hash of the name. Value: sealed under the instance key.
    Domains = 2 "domains",
    /// Clustering: account. Value: sealed under the account's key.
    Accounts = 3 "accounts",
    /// Clustering: account. Value: the account's key, wrapped by the epoch's.
    AccountKeys = 4 "account_keys",
    /// Partition: keyed hash of the address. Value: the account.
    Addresses = 5 "accounts_by_address",
    /// Partition: account. Clustering: keyed hash of the address. Value: the address, sealed.
    AddressesByAccount = 6 "addresses_by_account",
    /// Partition: hash of the credential. Value: whose it is and until when.
    Credentials = 7 "credentials",
    /// Partition: account. Clustering: hash of the credential.
    CredentialsByAccount = 8 "credentials_by_account",
    /// Partition: account. Clustering: mailbox. Value: sealed.
    Mailboxes = 9 "mailboxes",
    /// Partition: account and message. Value: the head and the envelope, sealed. It is authoritative: a list row
    /// that disagrees with it is skipped.
    Messages = 10 "messages",
    /// Partition: account and message. Value: mailboxes and keywords, sealed; no row means inbox, no keywords.
    States = 11 "states",
    /// Partition: account. Clustering: receivedAt, message.
    MessagesByAccount = 12 "messages_by_account",
    /// Partition: account and mailbox. Clustering: receivedAt, message. Value: unread mark and size.
    MessagesByMailbox = 13 "messages_by_mailbox",
    /// Partition: account and keyed hash of the keyword. Clustering: receivedAt, message.
    MessagesByKeyword = 14 "messages_by_keyword",
    /// Partition: account and thread as it was at arrival. Clustering: receivedAt, message.
    MessagesByThread = 15 "messages_by_thread",
    /// Partition: account and discussion. Clustering: receivedAt, message.
    MessagesByDiscussion = 16 "messages_by_discussion",
    /// Partition: account and keyed hash of a MimeMessageId. Clustering: thread.
    Links = 17 "threads_by_link",
    /// Partition: account and thread. Value: the thread it has become part of.
    ThreadAliases = 18 "thread_aliases",
    /// Partition: account and thread. Clustering: a thread that has become part of it.
    AliasesByThread = 19 "aliases_by_thread",
    /// Partition: account. Clustering: receivedAt of the newest message, thread.
    ThreadsByActivity = 20 "threads_by_activity",
    /// Partition: account. Clustering: receivedAt of the newest message, discussion.
    DiscussionsByActivity = 21 "discussions_by_activity",
    /// Partition: account and keyed hash of a base subject. Clustering: sentAt, thread. Value: keyed hashes of the
    /// participants.
    ThreadsBySubject = 22 "threads_by_subject",
    /// Partition: account and message. Value: when it was finally deleted.
    Deletions = 23 "deletions",
    /// Partition: account. Clustering: position. Written only as [`Write::Change`].
    Changes = 24 "changes",
    /// Partition: account. Clustering: receivedAt, message: what the index does not hold yet.
    Unindexed = 25 "unindexed",
    /// Partition: account. Clustering: code of a language, or 255 for all. Value: how many messages use it.
    Languages = 26 "languages",
    /// Clustering: account. Value: when it was purged.
    Purges = 27 "purges",
    /// Partition: account. Clustering: day. Value: where the change feed stood.
    FeedMarks = 28 "feed_marks",
    /// Partition: account. Clustering: when it was finally deleted, message. For each row of [`Table::Deletions`].
    DeletionsByTime = 29 "deletions_by_time",
    /// Partition: 0 for what nodes tell of themselves, 1 for marks of those that are to drain. Clustering: node. Value:
    /// sealed under the instance key; empty in a mark.
    Nodes = 30 "nodes",
    /// Clustering: name of a periodic job. Value: what names the turn of the one that runs it; who that is, and what the
    /// last run found, sealed under the instance key.
    PeriodicJobs = 31 "periodic_jobs",
    /// Partition: account. Clustering: day, process. Value: random, another whenever that process puts an old message among
    /// [`Table::Unindexed`].
    LateUnindexed = 32 "late_unindexed",
}

impl Table {
    /// Whether its rows are compared and set ([`crate::MailStore::replace`]).
    pub fn is_compared(self) -> bool {
        matches!(
            self,
            Self::Instance
                | Self::States
                | Self::ThreadAliases
                | Self::Addresses
                | Self::Accounts
                | Self::Domains
                | Self::Deletions
                | Self::AccountKeys
                | Self::PeriodicJobs
        )
    }

    /// How many octets its partitions have; none where all rows stand in one.
    pub fn partition_octets(self) -> usize {
        match self {
            Self::Instance
            | Self::Domains
            | Self::Accounts
            | Self::AccountKeys
            | Self::Purges
            | Self::PeriodicJobs => 0,
            Self::Nodes => 1,
            Self::AddressesByAccount
            | Self::CredentialsByAccount
            | Self::Mailboxes
            | Self::MessagesByAccount
            | Self::ThreadsByActivity
            | Self::DiscussionsByActivity
            | Self::Changes
            | Self::Unindexed
            | Self::LateUnindexed
            | Self::Languages
            | Self::FeedMarks
            | Self::DeletionsByTime => 16,
            Self::Addresses
            | Self::Credentials
            | Self::Messages
            | Self::States
            | Self::MessagesByMailbox
            | Self::MessagesByKeyword
            | Self::MessagesByThread
            | Self::MessagesByDiscussion
            | Self::Links
            | Self::ThreadAliases
            | Self::AliasesByThread
            | Self::ThreadsBySubject
            | Self::Deletions => 32,
        }
    }

    /// Whether the partition begins with an account id, so that the rows go when the account is purged.
    pub fn is_of_account(self) -> bool {
        !matches!(
            self,
            Self::Instance
                | Self::Domains
                | Self::Accounts
                | Self::AccountKeys
                | Self::Addresses
                | Self::Credentials
                | Self::Purges
                | Self::Nodes
                | Self::PeriodicJobs
        )
    }
}

/// Where a row stands.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RowKey {
    /// Which table.
    pub table: Table,
    /// Which rows it lives with. Its length is fixed for a table.
    pub partition: Vec<u8>,
    /// Its place among them.
    pub clustering: Vec<u8>,
}

impl RowKey {
    /// The row at `clustering` in `partition`.
    pub fn new(table: Table, partition: impl Into<Vec<u8>>, clustering: impl Into<Vec<u8>>) -> Self {
        Self { table, partition: partition.into(), clustering: clustering.into() }
    }

    /// A row of one message that has a partition of its own.
    pub fn of_message(table: Table, account: AccountId, message: MessageId) -> Self {
        Self::new(table, pair(account, message.as_bytes()), [])
    }
}

/// A row as a scan returns it: its clustering and its value.
pub type Row = (Vec<u8>, Vec<u8>);

/// Rows of one partition, in the order of their clustering.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Scan {
    /// Which table.
    pub table: Table,
    /// Which partition.
    pub partition: Vec<u8>,
    /// The least clustering wanted.
    pub lower: Bound<Vec<u8>>,
    /// The greatest clustering wanted.
    pub upper: Bound<Vec<u8>>,
    /// Greatest clustering first, that is newest first where it begins with a time.
    pub descending: bool,
    /// At most this many rows, at least 1.
    pub limit: usize,
}

impl Scan {
    /// All rows of a partition, least clustering first, up to `limit`.
    pub fn all(table: Table, partition: impl Into<Vec<u8>>, limit: usize) -> Self {
        let partition = partition.into();
        Self { table, partition, lower: Bound::Unbounded, upper: Bound::Unbounded, descending: false, limit }
    }

    /// The same rows, greatest clustering first.
    pub fn descending(mut self) -> Self {
        self.descending = true;
        self
    }

    /// Only rows whose clustering is above `clustering`.
    pub fn above(mut self, clustering: impl Into<Vec<u8>>) -> Self {
        self.lower = Bound::Excluded(clustering.into());
        self
    }

    /// Only rows whose clustering is below `clustering`.
    pub fn below(mut self, clustering: impl Into<Vec<u8>>) -> Self {
        self.upper = Bound::Excluded(clustering.into());
        self
    }
}

/// The partition of an account and something of its own.
pub fn pair(account: AccountId, of: &[u8; 16]) -> Vec<u8> {
    [account.as_bytes().as_slice(), of].concat()
}

/// A place in a list that is ordered by time, then id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ListPosition {
    /// receivedAt (or the activity) of what stands there.
    pub at: Millis,
    /// The id of what stands there.
    pub id: [u8; 16],
}

impl ListPosition {
    /// Where `id` stands.
    pub fn new(at: Millis, id: [u8; 16]) -> Self {
        Self { at, id }
    }

    /// As a clustering: 8 octets of time, 16 of id, both big-endian.
    pub fn clustering(&self) -> Vec<u8> {
        [self.at.to_be_bytes().as_slice(), &self.id].concat()
    }

    /// The position in a clustering, or `None` if it is none.
    pub fn from_clustering(clustering: &[u8]) -> Option<Self> {
        let (at, id) = clustering.split_first_chunk::<8>()?;
        Some(Self { at: Millis::from_be_bytes(*at), id: id.try_into().ok()? })
    }
}

/// What a list of messages is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum List {
    /// Every message of the account.
    Account,
    /// The messages in a mailbox.
    Mailbox(MailboxId),
    /// The messages with a keyword, by its keyed hash.
    Keyword([u8; 16]),
    /// The messages that arrived in a thread.
    Thread(ThreadId),
    /// The messages of a discussion.
    Discussion(DiscussionId),
}

impl List {
    /// The table and the partition that hold the list.
    pub fn partition(&self, account: AccountId) -> (Table, Vec<u8>) {
        match self {
            Self::Account => (Table::MessagesByAccount, account.as_bytes().to_vec()),
            Self::Mailbox(id) => (Table::MessagesByMailbox, pair(account, id.as_bytes())),
            Self::Keyword(hash) => (Table::MessagesByKeyword, pair(account, hash)),
            Self::Thread(id) => (Table::MessagesByThread, pair(account, id.as_bytes())),
            Self::Discussion(id) => (Table::MessagesByDiscussion, pair(account, id.as_bytes())),
        }
    }

    /// The row of a message in the list.
    pub fn row(&self, account: AccountId, at: ListPosition) -> RowKey {
        let (table, partition) = self.partition(account);
        RowKey { table, partition, clustering: at.clustering() }
    }
}
