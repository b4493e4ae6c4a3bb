//! Cursors: where a listing goes on. They say nothing to a client and hold for one query of one account.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use schema::{Account, ListPosition, Position};

use crate::error::Problem;
use crate::json::Time;

/// Octets of the keyed digest in a cursor.
const MAC: usize = 16;

/// What a cursor belongs to: the call and those of its parameters that decide what is listed and in which order.
pub(crate) struct Listing<'a> {
    account: &'a Account,
    parts: Vec<Vec<u8>>,
}

impl<'a> Listing<'a> {
    /// A listing of `account` by the call `name`.
    pub(crate) fn new(account: &'a Account, name: &'static str) -> Self {
        Self { account, parts: vec![name.as_bytes().to_vec()] }
    }

    /// The same with one more parameter; `None` is not the same as empty.
    pub(crate) fn with(mut self, value: Option<impl AsRef<[u8]>>) -> Self {
        self.parts.push(match value {
            None => Vec::new(),
            Some(value) => [b"=".as_slice(), value.as_ref()].concat(),
        });
        self
    }

    /// The same within times.
    pub(crate) fn within(self, after: Option<Time>, before: Option<Time>) -> Self {
        let octets = |time: Option<Time>| time.map(|time| time.0.to_be_bytes());
        self.with(octets(after)).with(octets(before))
    }

    fn mac(&self, position: &[u8]) -> [u8; 32] {
        let parts: Vec<&[u8]> =
            self.parts.iter().map(Vec::as_slice).chain(std::iter::once(position)).collect();
        self.account.keys().digest("cursor", &parts)
    }

    /// The cursor for a position.
    pub(crate) fn seal(&self, position: &[u8]) -> String {
        URL_SAFE_NO_PAD.encode([position, &self.mac(position)[..MAC]].concat())
    }

    /// The position in a cursor; `None` if it was not made for this listing.
    pub(crate) fn open(&self, cursor: &str) -> Option<Vec<u8>> {
        if cursor.len() > 256 {
            return None;
        }
        let bytes = URL_SAFE_NO_PAD.decode(cursor).ok()?;
        let (position, mac) = bytes.split_at(bytes.len().checked_sub(MAC)?);
        let same = subtle::ConstantTimeEq::ct_eq(mac, &self.mac(position)[..MAC]);
        bool::from(same).then(|| position.to_vec())
    }

    /// The place in a list that `cursor` leads to.
    pub(crate) fn position(&self, cursor: Option<&str>) -> Result<Option<ListPosition>, Problem> {
        let Some(cursor) = cursor else { return Ok(None) };
        let position = self.open(cursor).and_then(|bytes| ListPosition::from_clustering(&bytes));
        position.map(Some).ok_or_else(|| foreign("cursor"))
    }

    /// The cursor to where a list goes on.
    pub(crate) fn next(&self, position: Option<ListPosition>) -> Option<String> {
        position.map(|position| self.seal(&position.clustering()))
    }

    /// The place in the change feed that `cursor` leads to.
    pub(crate) fn change(&self, cursor: &str) -> Result<Position, Problem> {
        let bytes = self.open(cursor).and_then(|bytes| bytes.try_into().ok());
        bytes.map(|bytes| Position(u64::from_be_bytes(bytes))).ok_or_else(|| foreign("since"))
    }
}

/// 422 for a cursor that does not belong here.
pub(crate) fn foreign(field: &str) -> Problem {
    Problem::field(field, "invalid", "it is not a cursor of this call with these parameters")
}
