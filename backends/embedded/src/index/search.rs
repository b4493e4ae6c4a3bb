//! Carries out a query, one segment after the other, so that memory is bounded by the greatest segment and the hits
//! asked for.

use std::sync::Arc;

use schema::index::{Hit, Hits, Sort};
use schema::{AccountId, Result};

use super::bits::Bits;
use super::coding::Reader;
use super::frequencies::Frequencies;
use super::manifest::Entry;
use super::plan::{Node, Plan};
use super::ranking::{Best, Statistics};
use super::removed::live;
use super::segment::{Chunk, Rows, Segment};
use super::{Store, damaged};

/// Up to here the number of matches is always counted to the end.
const EXACT_TOTAL: u64 = 10_000;

/// Where the query's tokens stand in one segment.
struct Part {
    entry: Entry,
    /// Its documents that are not gone; `None` if none is.
    live: Option<Bits>,
    /// For each token of the plan.
    chunks: Vec<Vec<Chunk>>,
}

/// Finds what `plan` asks for.
pub fn search(
    store: &Store,
    account: AccountId,
    plan: &Plan,
    sort: Sort,
    offset: usize,
    limit: usize,
) -> Result<Hits> {
    let rows = store.rows(account);
    let Some(mut manifest) = rows.manifest()? else { return Ok(Hits::default()) };
    let room = (offset.saturating_add(limit) as u64).min(manifest.live()) as usize;
    let mut found = Found { total: 0, is_lower_bound: false, best: Best::new(room) };
    match sort {
        Sort::Relevance => {
            let mut statistics =
                Statistics { frequencies: vec![0; plan.tokens.len()], ..Statistics::default() };
            let mut parts = Vec::with_capacity(manifest.entries.len());
            for entry in manifest.entries {
                let segment = store.segment(&rows, entry.id)?;
                let part = locate(&rows, &segment, entry, plan)?;
                count(&part, &segment, &mut statistics)?;
                parts.push(part);
            }
            for part in parts {
                let segment = store.segment(&rows, part.entry.id)?;
                let evaluation = Evaluation::of(&rows, &segment, &part, plan)?;
                found.add(&segment, &part, &evaluation, plan, Some(&statistics));
            }
        }
        Sort::Date => {
            manifest.entries.sort_by_key(|entry| std::cmp::Reverse(entry.newest));
            for entry in manifest.entries {
                if found.total >= EXACT_TOTAL
                    && (room == 0 || found.best.worst().is_some_and(|worst| worst.received_at > entry.newest))
                {
                    found.is_lower_bound = true;
                    break;
                }
                let segment = store.segment(&rows, entry.id)?;
                let part = locate(&rows, &segment, entry, plan)?;
                let evaluation = Evaluation::of(&rows, &segment, &part, plan)?;
                found.add(&segment, &part, &evaluation, plan, None);
            }
        }
    }
    let mut hits = found.best.into_hits(offset);
    hits.truncate(limit);
    Ok(Hits { hits, total: found.total, total_is_lower_bound: found.is_lower_bound })
}

fn locate(rows: &Rows<'_>, segment: &Segment, entry: Entry, plan: &Plan) -> Result<Part> {
    let live = if entry.removed > 0 { Some(live(rows, &segment.documents)?) } else { None };
    let mut chunks = Vec::with_capacity(plan.tokens.len());
    for &token in &plan.tokens {
        let mut of_token = Vec::new();
        segment.find(rows, token, &mut of_token)?;
        chunks.push(of_token);
    }
    Ok(Part { entry, live, chunks })
}

/// Adds what a segment knows to the account's statistics.
fn count(part: &Part, segment: &Segment, statistics: &mut Statistics) -> Result<()> {
    statistics.messages += u64::from(part.entry.documents - part.entry.removed);
    statistics.words += segment.documents.words_of(part.live.as_ref());
    for (frequency, chunks) in statistics.frequencies.iter_mut().zip(&part.chunks) {
        for chunk in chunks {
            let mut postings = chunk.postings();
            loop {
                let posting = postings.read().ok_or_else(damaged)?;
                *frequency +=
                    u64::from(part.live.as_ref().is_none_or(|live| live.contains(posting.document)));
                if posting.last {
                    break;
                }
            }
        }
    }
    Ok(())
}

/// What each node of a plan finds in one segment.
struct Evaluation {
    /// For each node.
    bits: Vec<Bits>,
    /// For each token.
    tokens: Vec<Frequencies>,
    /// For each phrase.
    phrases: Vec<Frequencies>,
}

impl Evaluation {
    fn of(rows: &Rows<'_>, segment: &Segment, part: &Part, plan: &Plan) -> Result<Self> {
        let len = segment.documents.len();
        let tokens =
            part.chunks.iter().map(|chunks| Frequencies::read(chunks, len)).collect::<Result<Vec<_>>>()?;
        let mut evaluation = Self { bits: Vec::with_capacity(plan.nodes.len()), tokens, phrases: Vec::new() };
        for node in &plan.nodes {
            let bits = evaluation.node(rows, segment, part, node)?;
            evaluation.bits.push(bits);
        }
        Ok(evaluation)
    }

    fn node(&mut self, rows: &Rows<'_>, segment: &Segment, part: &Part, node: &Node) -> Result<Bits> {
        let documents = &segment.documents;
        let len = documents.len();
        Ok(match node {
            Node::All => Bits::all(len),
            Node::Nothing => Bits::none(len),
            Node::Token { token, .. } => self.tokens[*token].bits(len),
            Node::Phrase { slots, .. } => {
                let phrase = self.phrase(rows, segment, part, slots)?;
                let bits = phrase.bits(len);
                self.phrases.push(phrase);
                bits
            }
            Node::And(nodes) => {
                let mut bits = Bits::all(len);
                nodes.iter().for_each(|&node| bits.intersect(&self.bits[node]));
                bits
            }
            Node::Or(nodes) => {
                let mut bits = Bits::none(len);
                nodes.iter().for_each(|&node| bits.unite(&self.bits[node]));
                bits
            }
            Node::Not(node) => {
                let mut bits = self.bits[*node].clone();
                bits.invert();
                bits
            }
            Node::Received { from, until } => Bits::of(len, |index| {
                let at = documents.received_at[index];
                from.is_none_or(|from| at >= from) && until.is_none_or(|until| at < until)
            }),
            Node::Size { above, below } => Bits::of(len, |index| {
                let size = documents.sizes[index];
                above.is_none_or(|above| size > above) && below.is_none_or(|below| size < below)
            }),
            Node::HasAttachment => Bits::of(len, |index| documents.attachments[index]),
        })
    }

    /// Where the slots stand one after the other, and how often. Positions are read only of documents that hold a
    /// token of every slot.
    fn phrase(
        &self,
        rows: &Rows<'_>,
        segment: &Segment,
        part: &Part,
        slots: &[Vec<usize>],
    ) -> Result<Frequencies> {
        let mut phrase = Frequencies::default();
        if slots.is_empty() {
            return Ok(phrase);
        }
        let len = segment.documents.len();
        let mut candidates = part.live.clone().unwrap_or_else(|| Bits::all(len));
        for slot in slots {
            let mut holding = Bits::none(len);
            slot.iter().for_each(|&token| holding.unite(&self.tokens[token].bits(len)));
            candidates.intersect(&holding);
        }
        if candidates.is_empty() {
            return Ok(phrase);
        }
        let mut starts = Vec::new();
        for (index, slot) in slots.iter().enumerate() {
            let mut places = Vec::new();
            for &token in slot {
                read_places(rows, segment, &part.chunks[token], &candidates, &mut places)?;
            }
            places.sort_unstable();
            if index == 0 {
                places.dedup();
                starts = places;
            } else {
                keep_followed(&mut starts, &places, index as u64);
            }
            if starts.is_empty() {
                break;
            }
        }
        for group in starts.chunk_by(|left, right| left >> 32 == right >> 32) {
            phrase.push((group[0] >> 32) as u32, group.len() as u32);
        }
        Ok(phrase)
    }
}

/// Keeps those of `starts` that have a member of `places` so many positions `further` on. Both are ascending, and hold
/// document << 32 | position.
fn keep_followed(starts: &mut Vec<u64>, places: &[u64], further: u64) {
    let mut at = 0;
    starts.retain(|&start| {
        let wanted = start + further;
        while places.get(at).is_some_and(|&place| place < wanted) {
            at += 1;
        }
        // A position near its greatest value must not run over into the next document.
        places.get(at) == Some(&wanted) && wanted >> 32 == start >> 32
    });
}

/// Adds document << 32 | position for each position of a token in a candidate.
fn read_places(
    rows: &Rows<'_>,
    segment: &Segment,
    chunks: &[Chunk],
    candidates: &Bits,
    places: &mut Vec<u64>,
) -> Result<()> {
    for chunk in chunks {
        let (row, start) = chunk.positions(rows, segment)?;
        let mut positions = Reader::new(&row[start..]);
        let mut postings = chunk.postings();
        loop {
            let posting = postings.read().ok_or_else(damaged)?;
            let steps = positions.take_varints(posting.positions).ok_or_else(damaged)?;
            if candidates.contains(posting.document) {
                let mut steps = Reader::new(steps);
                let mut position = 0u32;
                while !steps.is_empty() {
                    let step = steps.varint32().and_then(|step| position.checked_add(step));
                    position = step.ok_or_else(damaged)?;
                    places.push(u64::from(posting.document) << 32 | u64::from(position));
                }
            }
            if posting.last {
                break;
            }
        }
    }
    Ok(())
}

/// What was found so far.
struct Found {
    total: u64,
    is_lower_bound: bool,
    best: Best,
}

impl Found {
    fn add(
        &mut self,
        segment: &Arc<Segment>,
        part: &Part,
        evaluation: &Evaluation,
        plan: &Plan,
        statistics: Option<&Statistics>,
    ) {
        let root = plan.nodes.len() - 1;
        let mut matching = evaluation.bits[root].clone();
        if let Some(live) = &part.live {
            matching.intersect(live);
        }
        self.total += matching.count();
        let mut scorer = statistics.map(|statistics| Scorer::new(statistics, plan, evaluation));
        for document in matching.iter() {
            let index = document as usize;
            let words = segment.documents.words[index];
            let score = scorer.as_mut().map_or(0.0, |scorer| scorer.score(root, document, words));
            let marks = plan
                .marks
                .iter()
                .filter(|(_, node)| evaluation.bits[*node].contains(document))
                .fold(0, |marks, (mark, _)| marks | 1 << mark);
            self.best.push(Hit {
                id: segment.documents.ids[index],
                received_at: segment.documents.received_at[index],
                score: score as f32,
                marks,
            });
        }
    }
}

/// Scores documents of one segment, in ascending order. A conjunction and a disjunction count the sum of what they
/// join and find; a phrase counts as a word that stands as often as the phrase does and says as much as the commonest
/// tokens of its slots together; what a [`Node::Not`] finds, and a filter, counts nothing.
struct Scorer<'a> {
    statistics: &'a Statistics,
    plan: &'a Plan,
    evaluation: &'a Evaluation,
    rarities: Vec<f64>,
    tokens: Vec<usize>,
    phrases: Vec<usize>,
}

impl<'a> Scorer<'a> {
    fn new(statistics: &'a Statistics, plan: &'a Plan, evaluation: &'a Evaluation) -> Self {
        Self {
            statistics,
            plan,
            evaluation,
            rarities: (0..plan.tokens.len()).map(|token| statistics.rarity(token)).collect(),
            tokens: vec![0; plan.tokens.len()],
            phrases: vec![0; plan.phrases],
        }
    }

    fn score(&mut self, node: usize, document: u32, words: u32) -> f64 {
        let plan = self.plan;
        if !self.evaluation.bits[node].contains(document) {
            return 0.0;
        }
        match &plan.nodes[node] {
            Node::Token { token, weight } => {
                let frequency = self.evaluation.tokens[*token].at(document, &mut self.tokens[*token]);
                f64::from(*weight) * self.rarities[*token] * self.statistics.saturation(frequency, words)
            }
            Node::Phrase { slots, phrase } => {
                let frequency = self.evaluation.phrases[*phrase].at(document, &mut self.phrases[*phrase]);
                let rarity = slots
                    .iter()
                    .map(|slot| slot.iter().map(|&token| self.rarities[token]).fold(f64::INFINITY, f64::min));
                rarity.sum::<f64>() * self.statistics.saturation(frequency, words)
            }
            Node::And(nodes) | Node::Or(nodes) => {
                nodes.iter().map(|&node| self.score(node, document, words)).sum()
            }
            _ => 0.0,
        }
    }
}
