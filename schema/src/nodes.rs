//! All nodes: each tells of itself in a row, every few seconds, and looks for a mark that asks it to drain. One that has
//! been silent counts as dead. Times are compared between machines, whose clocks are close to each other.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{
    About, Durability, Instance, Load, MailStore, Millis, NodeId, Result, RowKey, Scan, Table, Write, value,
};

/// How often a node tells of itself.
pub const TOLD_EVERY: Duration = Duration::from_secs(5);
/// A node that has been silent for so long is dead.
const SILENCE: Millis = 20_000;
/// After so long its row goes. Until then one that was only asleep finds the mark that asks it to drain.
const REMEMBERED: Millis = 3_600_000;
/// Rows of one scan: more than any cluster has nodes.
const PAGE: usize = 10_000;

const TOLD: [u8; 1] = [0];
const MARKS: [u8; 1] = [1];

/// What a node told of itself. Fields are only ever added, at the end: those of older and newer programs are read too.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    /// Which.
    pub id: NodeId,
    /// What does not change.
    pub about: About,
    /// When it started.
    pub started_at: Millis,
    /// When it told this.
    pub told_at: Millis,
    /// Whether it began nothing more.
    pub is_draining: bool,
    /// What it was busy with.
    pub load: Load,
    /// Whether it is asked to drain, which it may not know yet.
    #[serde(skip)]
    pub is_asked: bool,
}

fn told_row(id: NodeId) -> RowKey {
    RowKey::new(Table::Nodes, TOLD, *id.as_bytes())
}

fn mark_row(id: NodeId) -> RowKey {
    RowKey::new(Table::Nodes, MARKS, *id.as_bytes())
}

/// A row's value: when it was told, so that also what does not open has an age, and what was told, sealed.
fn split(row: &[u8]) -> Option<(Millis, &[u8])> {
    let (told_at, sealed) = row.split_first_chunk()?;
    Some((Millis::from_be_bytes(*told_at), sealed))
}

/// How many nodes live on servers that are shared, as their rows say: no key is needed.
///
/// # Errors
/// What the store says.
pub async fn count_living_nodes(store: &dyn MailStore, now: Millis) -> Result<usize> {
    let rows = store.scan(&Scan::all(Table::Nodes, TOLD, PAGE)).await?;
    let lives = |row: &[u8]| split(row).is_some_and(|(told_at, _)| now.saturating_sub(told_at) < SILENCE);
    Ok(rows.iter().filter(|(_, row)| lives(row)).count())
}

impl Instance {
    /// Notes what a node tells of itself.
    pub async fn note_node(&self, node: &Node) -> Result<()> {
        let key = told_row(node.id);
        let sealed = value::seal_instance(self.keyring.instance(), &key, node);
        let told = [&node.told_at.to_be_bytes()[..], &sealed].concat();
        self.backend.store.write(vec![Write::Put(key, told)], Durability::Later).await
    }

    /// The nodes that live, those that started first before the others.
    pub async fn nodes(&self) -> Result<Vec<Node>> {
        let marks = self.backend.store.scan(&Scan::all(Table::Nodes, MARKS, PAGE)).await?;
        let mut nodes = Vec::new();
        for (clustering, row) in self.backend.store.scan(&Scan::all(Table::Nodes, TOLD, PAGE)).await? {
            let key = RowKey::new(Table::Nodes, TOLD, clustering);
            let Some((told_at, sealed)) = split(&row).filter(|(told_at, _)| !self.is_silent(*told_at)) else {
                continue;
            };
            let opened = value::open_instance::<Node>(self.keyring.instance(), &key, sealed);
            let Some(id) = NodeId::from_slice(&key.clustering) else { continue };
            // What a program of another version tells may not be understood: that it lives is.
            let mut node = opened.unwrap_or_else(|_| Node { id, told_at, ..Node::default() });
            node.is_asked = marks.iter().any(|(marked, _)| *marked == key.clustering);
            nodes.push(node);
        }
        nodes.sort_by_key(|node| (node.started_at, node.id));
        Ok(nodes)
    }

    /// One that lives.
    pub async fn node(&self, id: NodeId) -> Result<Option<Node>> {
        Ok(self.nodes().await?.into_iter().find(|node| node.id == id))
    }

    /// Whether one that told something then counts as dead. A process that has the data for itself is the one that asks.
    fn is_silent(&self, told_at: Millis) -> bool {
        self.backend.is_shared && self.now().saturating_sub(told_at) >= SILENCE
    }

    /// Asks a node to drain, or to go on. False if no such node lives.
    pub async fn ask_to_drain(&self, id: NodeId, is_draining: bool) -> Result<bool> {
        if self.node(id).await?.is_none() {
            return Ok(false);
        }
        let mark = mark_row(id);
        let write = if is_draining { Write::Put(mark, vec![]) } else { Write::Delete(mark) };
        self.backend.store.write(vec![write], Durability::Now).await?;
        Ok(true)
    }

    /// Whether a node is asked to drain.
    pub async fn is_asked_to_drain(&self, id: NodeId) -> Result<bool> {
        Ok(self.row(&mark_row(id)).await?.is_some())
    }

    /// Forgets a node that ends.
    pub async fn forget_node(&self, id: NodeId) -> Result<()> {
        let rows = vec![Write::Delete(told_row(id)), Write::Delete(mark_row(id))];
        self.backend.store.write(rows, Durability::Later).await
    }

    /// Forgets nodes that have been dead for long, and, in a process that has the data for itself, all that are not
    /// `but`. Returns how many those were.
    pub async fn forget_dead_nodes(&self, but: Option<NodeId>) -> Result<u64> {
        let mut writes = Vec::new();
        let mut dead = 0;
        for (clustering, row) in self.backend.store.scan(&Scan::all(Table::Nodes, TOLD, PAGE)).await? {
            let Some(id) = NodeId::from_slice(&clustering) else { continue };
            let told_at = split(&row).map_or(0, |(told_at, _)| told_at);
            let is_dead = match self.backend.is_shared {
                true => self.now().saturating_sub(told_at) >= REMEMBERED,
                false => but.is_some_and(|but| but != id),
            };
            if is_dead {
                dead += 1;
                writes.extend([Write::Delete(told_row(id)), Write::Delete(mark_row(id))]);
            }
        }
        if !writes.is_empty() {
            self.backend.store.write(writes, Durability::Later).await?;
        }
        Ok(dead)
    }
}
