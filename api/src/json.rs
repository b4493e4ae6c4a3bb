//! How values look in JSON and in parameters.

use std::collections::BTreeSet;

use axum::body::Body;
use axum::response::Response;
use http::{HeaderValue, StatusCode, header};
use jiff::Timestamp;
use schema::{MailboxId, Millis};
use serde::de::{self, Deserializer};
use serde::ser::{SerializeMap, Serializer};
use serde::{Deserialize, Serialize};
use utoipa::openapi::schema::{AdditionalProperties, KnownFormat, ObjectBuilder, SchemaFormat, Type};
use utoipa::openapi::{RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

use crate::memory::Held;

const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// An id: 32 lower-case hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Id(pub [u8; 16]);

impl Id {
    /// The digits.
    fn digits(&self) -> [u8; 32] {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut text = [0; 32];
        for (pair, octet) in text.chunks_exact_mut(2).zip(self.0) {
            pair[0] = DIGITS[usize::from(octet >> 4)];
            pair[1] = DIGITS[usize::from(octet & 15)];
        }
        text
    }

    /// The digits as text.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.digits()).into_owned()
    }

    /// The id that `text` writes.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        text.parse::<schema::MessageId>().ok().map(|id| Self(id.0))
    }
}

impl Serialize for Id {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(std::str::from_utf8(&self.digits()).expect("hexadecimal digits are ASCII"))
    }
}

impl<'de> Deserialize<'de> for Id {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| de::Error::custom("an id is 32 lower-case hexadecimal digits"))
    }
}

impl PartialSchema for Id {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new()
            .schema_type(Type::String)
            .pattern(Some("^[0-9a-f]{32}$"))
            .description(Some("An id: 32 lower-case hexadecimal digits."))
            .into()
    }
}

impl ToSchema for Id {}

/// A time: RFC 3339 in UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Time(pub Millis);

impl Time {
    /// The time that `text` writes, in whatever offset.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let time: Timestamp = text.parse().ok()?;
        u64::try_from(time.as_millisecond()).ok().map(Self)
    }

    fn timestamp(self) -> Timestamp {
        i64::try_from(self.0)
            .ok()
            .and_then(|at| Timestamp::from_millisecond(at).ok())
            .unwrap_or(Timestamp::MAX)
    }
}

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.timestamp())
    }
}

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        Self::parse(&text)
            .ok_or_else(|| de::Error::custom("a time looks like 2026-01-31T09:30:00Z and is not before 1970"))
    }
}

impl PartialSchema for Time {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new()
            .schema_type(Type::String)
            .format(Some(SchemaFormat::KnownFormat(KnownFormat::DateTime)))
            .description(Some("A time, RFC 3339, in answers always UTC."))
            .into()
    }
}

impl ToSchema for Time {}

fn set_schema(description: &str) -> RefOr<Schema> {
    ObjectBuilder::new()
        .schema_type(Type::Object)
        .additional_properties(Some(AdditionalProperties::RefOr(
            ObjectBuilder::new().schema_type(Type::Boolean).enum_values(Some([true])).into(),
        )))
        .description(Some(description.to_owned()))
        .into()
}

/// Mailboxes as `{id: true}`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MailboxIds<'a>(pub &'a BTreeSet<MailboxId>);

impl Serialize for MailboxIds<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for id in self.0 {
            map.serialize_entry(&Id(id.0), &true)?;
        }
        map.end()
    }
}

impl PartialSchema for MailboxIds<'_> {
    fn schema() -> RefOr<Schema> {
        set_schema("The mailboxes a message is in: `{id: true}`.")
    }
}

impl ToSchema for MailboxIds<'_> {}

/// Keywords as `{name: true}`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Keywords<'a>(pub &'a BTreeSet<String>);

impl Serialize for Keywords<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for name in self.0 {
            map.serialize_entry(name, &true)?;
        }
        map.end()
    }
}

impl PartialSchema for Keywords<'_> {
    fn schema() -> RefOr<Schema> {
        set_schema(
            "The keywords of a message: `{name: true}`, such as `$seen`, `$flagged`, `$answered`, `$draft`.",
        )
    }
}

impl ToSchema for Keywords<'_> {}

/// An answer with a JSON body.
pub(crate) fn json<T: Serialize>(status: StatusCode, value: &T) -> Response {
    let mut body = Vec::with_capacity(1024);
    serde_json::to_writer(&mut body, value).expect("what we answer has string keys and goes to memory");
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, JSON);
    response
}

/// 200 with a JSON body that holds memory until it is sent.
pub(crate) fn held_json<T: Serialize>(value: &T, held: Held) -> Response {
    let body = serde_json::to_vec(value).expect("what we answer has string keys and goes to memory");
    let mut response = Response::new(held.body(body.into()));
    response.headers_mut().insert(header::CONTENT_TYPE, JSON);
    response
}

/// 200 with a JSON body.
pub(crate) fn ok<T: Serialize>(value: &T) -> Response {
    json(StatusCode::OK, value)
}

/// 201 with a JSON body and where the new thing is.
pub(crate) fn created<T: Serialize>(location: &str, value: &T) -> Response {
    let mut response = json(StatusCode::CREATED, value);
    if let Ok(location) = HeaderValue::from_str(location) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    response
}

/// 204.
pub(crate) fn no_content() -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_and_times_read_back_as_they_were_written() {
        let id = Id(*b"0123456789abcdef");
        let text = serde_json::to_string(&id).unwrap();
        assert_eq!(text, "\"30313233343536373839616263646566\"");
        assert_eq!(serde_json::from_str::<Id>(&text).unwrap(), id);
        assert_eq!(serde_json::to_string(&Time(0)).unwrap(), "\"1970-01-01T00:00:00Z\"");
        assert_eq!(serde_json::to_string(&Time(1_500)).unwrap(), "\"1970-01-01T00:00:01.5Z\"");
        assert_eq!(Time::parse("1970-01-01T02:00:00+02:00"), Some(Time(0)));
        for wrong in ["", "yesterday", "1969-12-31T23:59:59Z", "2026-01-01", "2026-01-01T00:00:00"] {
            assert_eq!(Time::parse(wrong), None, "{wrong}");
        }
        // The largest time a store could hold does not fail.
        assert!(serde_json::to_string(&Time(u64::MAX)).is_ok());
    }
}
