//! Searches, in pages of any depth.
//!
//! Elasticsearch numbers hits up to `index.max_result_window`, at a cost in memory that grows with the number. Beyond that
//! a page goes on after the last hit of the one before, which is remembered for a while; where it is not, the hits in
//! between are walked through.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::{Duration, Instant};

use moka::sync::Cache;
use schema::index::{Hit, Hits, Query, Sort};
use schema::{AccountId, Error, MessageId, Result};
use serde::Deserialize;
use serde_json::{Value, json};

use super::document::{halves, routing, whole};
use super::nodes::{Failure, Nodes, Request};
use super::query::{Dialect, mark};

const WHAT: &str = "the search index could not be searched";
/// Hits in one answer, at most.
const STEP: usize = 10_000;
/// Up to here the number of hits is exact.
const EXACT_TOTAL: usize = 10_000;
/// How many places are remembered, and for how long.
const PLACES: u64 = 10_000;
const PLACE_TIME: Duration = Duration::from_secs(60);

/// What a hit is sorted by, as Elasticsearch gave it.
type Place = Vec<Value>;

/// Where the last page of a search ended: after so many hits.
pub(super) type Places = Cache<(AccountId, u64), (usize, Place)>;

pub(super) fn places() -> Places {
    Cache::builder().max_capacity(PLACES).time_to_live(PLACE_TIME).build()
}

#[derive(Deserialize)]
struct Answer {
    timed_out: bool,
    #[serde(rename = "_shards")]
    shards: Shards,
    #[serde(default)]
    hits: Found,
}

#[derive(Deserialize)]
struct Shards {
    failed: u32,
}

#[derive(Deserialize, Default)]
struct Found {
    total: Option<Total>,
    #[serde(default)]
    hits: Vec<Row>,
}

#[derive(Deserialize)]
struct Total {
    value: u64,
    relation: String,
}

#[derive(Deserialize)]
struct Row {
    sort: Place,
    #[serde(default)]
    matched_queries: Vec<String>,
}

/// Where a page begins.
enum Start {
    At(usize),
    After(Place),
}

/// A search of one account, within the time of a request.
pub(super) struct Search<'a> {
    nodes: &'a Nodes,
    path: String,
    account: AccountId,
    dialect: Dialect,
    /// How far Elasticsearch numbers hits.
    window: usize,
    deadline: Instant,
}

impl<'a> Search<'a> {
    pub(super) fn new(
        nodes: &'a Nodes,
        alias: &str,
        account: AccountId,
        dialect: Dialect,
        window: usize,
    ) -> Self {
        let path = format!("{alias}/_search");
        Self { nodes, path, account, dialect, window, deadline: nodes.deadline() }
    }

    /// Finds what `query` asks for.
    pub(super) async fn find(
        &self,
        places: &Places,
        query: &Query,
        sort: Sort,
        offset: usize,
        limit: usize,
    ) -> Result<Hits> {
        let asked = self.dialect.compile(query, sort == Sort::Relevance, true)?;
        let mut hasher = DefaultHasher::new();
        (asked.to_string(), sort == Sort::Relevance).hash(&mut hasher);
        let key = (self.account, hasher.finish());
        let step = limit.min(STEP).min(self.window);
        let mut start = if offset.saturating_add(step) <= self.window {
            Start::At(offset)
        } else {
            match self.reach(places, key, query, sort, offset).await? {
                Some(place) => Start::After(place),
                None => return self.total(&asked, sort).await,
            }
        };
        let mut hits = Hits::default();
        let mut last = None;
        while hits.hits.len() < limit {
            let size = step.min(limit - hits.hits.len());
            let found = self.page(&asked, sort, &start, size).await?;
            if last.is_none() {
                (hits.total, hits.total_is_lower_bound) = total(&found)?;
            }
            let is_end = found.hits.len() < size;
            for row in &found.hits {
                hits.hits.push(hit(row, sort)?);
            }
            let Some(row) = found.hits.into_iter().next_back() else { break };
            last = Some(row.sort.clone());
            if is_end {
                break;
            }
            start = Start::After(row.sort);
        }
        let end = offset.saturating_add(hits.hits.len());
        if let Some(place) = last.filter(|_| end.saturating_add(step) > self.window) {
            places.insert(key, (end, place));
        }
        Ok(hits)
    }

    /// The place of the hit before `offset`, if there are as many.
    async fn reach(
        &self,
        places: &Places,
        key: (AccountId, u64),
        query: &Query,
        sort: Sort,
        offset: usize,
    ) -> Result<Option<Place>> {
        let asked = self.dialect.compile(query, sort == Sort::Relevance, false)?;
        let (mut at, mut place) = match places.get(&key).filter(|(at, _)| *at <= offset) {
            Some(known) => known,
            None => {
                let at = offset.min(self.window);
                let found = self.page(&asked, sort, &Start::At(at - 1), 1).await?;
                let Some(row) = found.hits.into_iter().next() else { return Ok(None) };
                (at, row.sort)
            }
        };
        while at < offset {
            let size = (offset - at).min(STEP).min(self.window);
            let found = self.page(&asked, sort, &Start::After(place), size).await?;
            if found.hits.len() < size {
                return Ok(None);
            }
            at += size;
            place = found.hits.into_iter().next_back().ok_or_else(nonsense)?.sort;
            // A walk that its time does not suffice for goes on from here when it is asked for again.
            places.insert(key, (at, place.clone()));
        }
        Ok(Some(place))
    }

    /// No hits, and how many there are.
    async fn total(&self, asked: &Value, sort: Sort) -> Result<Hits> {
        let found = self.page(asked, sort, &Start::At(0), 0).await?;
        let (total, total_is_lower_bound) = total(&found)?;
        Ok(Hits { hits: Vec::new(), total, total_is_lower_bound })
    }

    async fn page(&self, asked: &Value, sort: Sort, start: &Start, size: usize) -> Result<Found> {
        let mut order = vec![
            json!({"receivedAt": "desc"}),
            json!({"messageHigh": "desc"}),
            json!({"messageLow": "desc"}),
        ];
        let mut query = json!({"bool": {"filter": [self.own()]}});
        let counted = match sort {
            Sort::Relevance => {
                order.insert(0, json!({"_score": "desc"}));
                "must"
            }
            Sort::Date => "filter",
        };
        match &mut query["bool"][counted] {
            Value::Array(all) => all.push(asked.clone()),
            one => *one = asked.clone(),
        }
        let mut body = json!({"query": query, "sort": order, "size": size, "track_total_hits": EXACT_TOTAL});
        match start {
            Start::At(from) => body["from"] = (*from).into(),
            Start::After(place) => body["search_after"] = Value::Array(place.clone()),
        }
        self.ask(body).await
    }

    /// The account's ids after `after`, ascending, at most `limit`.
    pub(super) async fn ids(&self, after: Option<MessageId>, limit: usize) -> Result<Vec<MessageId>> {
        let mut ids: Vec<MessageId> = Vec::new();
        let mut after = after;
        while ids.len() < limit {
            let size = (limit - ids.len()).min(STEP).min(self.window);
            let mut body = json!({
                "query": {"bool": {"filter": [self.own()]}},
                "sort": [{"messageHigh": "asc"}, {"messageLow": "asc"}],
                "size": size,
                "track_total_hits": false,
            });
            if let Some(after) = after {
                body["search_after"] = json!(halves(after));
            }
            let found = self.ask(body).await?;
            for row in &found.hits {
                ids.push(id(&row.sort)?);
            }
            after = ids.last().copied();
            if found.hits.len() < size {
                break;
            }
        }
        Ok(ids)
    }

    /// What is the account's.
    fn own(&self) -> Value {
        json!({"term": {"_routing": routing(self.account)}})
    }

    async fn ask(&self, mut body: Value) -> Result<Found> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        // All that is asked for stands in what hits are sorted by: no stored field is read.
        body["stored_fields"] = "_none_".into();
        body["_source"] = false.into();
        body["timeout"] = format!("{}ms", left.as_millis()).into();
        let (routing, account) = (routing(self.account), self.account.to_string());
        // The copies of a shard score a little differently: an account stays with one, so that its pages fit together.
        let parameters = [
            ("routing", routing.as_str()),
            ("preference", account.as_str()),
            ("allow_partial_search_results", "false"),
            ("filter_path", "timed_out,_shards.failed,hits.total,hits.hits.sort,hits.hits.matched_queries"),
        ];
        let request = Request::search(&self.path, &parameters, body.to_string());
        let answer: Answer = self.nodes.ask_until(&request, self.deadline).await.map_err(failed)?;
        if answer.timed_out || answer.shards.failed > 0 {
            return Err(Failure::TimedOut.during(WHAT));
        }
        Ok(answer.hits)
    }
}

fn failed(failure: Failure) -> Error {
    match &failure {
        Failure::Status { status: 400, kind } if kind.contains("too_many") => {
            Error::Refused { what: "a query of more words than the search index takes at once" }
        }
        _ => failure.during(WHAT),
    }
}

fn nonsense() -> Error {
    Failure::Nonsense.during(WHAT)
}

fn total(found: &Found) -> Result<(u64, bool)> {
    let total = found.total.as_ref().ok_or_else(nonsense)?;
    Ok((total.value, total.relation != "eq"))
}

fn hit(row: &Row, sort: Sort) -> Result<Hit> {
    let (score, rest) = match (sort, row.sort.split_first()) {
        (Sort::Relevance, Some((score, rest))) => (score.as_f64().ok_or_else(nonsense)? as f32, rest),
        _ => (0.0, row.sort.as_slice()),
    };
    let (received_at, halves) = rest.split_first().ok_or_else(nonsense)?;
    let marks =
        row.matched_queries.iter().filter_map(|name| mark(name)).fold(0, |marks, mark| marks | 1 << mark);
    Ok(Hit { id: id(halves)?, received_at: received_at.as_u64().ok_or_else(nonsense)?, score, marks })
}

fn id(place: &[Value]) -> Result<MessageId> {
    match place {
        [high, low] => {
            let half = |value: &Value| value.as_i64().ok_or_else(nonsense);
            Ok(whole([half(high)?, half(low)?]))
        }
        _ => Err(nonsense()),
    }
}
