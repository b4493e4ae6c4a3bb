//! Reads and checks parameters and bodies: one entry per wrong field, unknown fields included.

use std::cell::Cell;
use std::fmt;
use std::time::Duration;

use axum::body::HttpBody as _;
use axum::extract::{FromRequest, FromRequestParts, Request};
use http::request::Parts;
use http::{HeaderMap, Method, StatusCode, header};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde::Deserialize;
use serde::de::{self, DeserializeOwned, DeserializeSeed, Deserializer, MapAccess, Visitor};
use serde_json::Value;
use validator::{Validate, ValidationErrorsKind};

use crate::error::{FieldError, Problem};

/// The most octets of a JSON body.
pub const BODY_LIMIT: usize = 256 << 10;
/// How long a JSON body may take to come: a call that changes something is carried out though its client has gone, but
/// not waited for without end.
const BODY_TIME: Duration = Duration::from_secs(20);
/// The most wrong fields that are reported at once, which also bounds the work of finding them.
const ERRORS: usize = 20;
/// The most query parameters that are read.
const PARAMETERS: usize = 50;

/// The query parameters of a request, read and checked.
pub(crate) struct Parameters<T>(pub T);

/// A JSON body, read and checked.
pub(crate) struct Body<T>(pub T);

/// What a call takes that has no parameters.
#[derive(Debug, Deserialize, Validate)]
#[serde(deny_unknown_fields)]
pub(crate) struct NoParameters {}

impl<S: Sync, T: DeserializeOwned + Validate> FromRequestParts<S> for Parameters<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let fields = read_query(parts.uri.query().unwrap_or_default())?;
        read(fields).map(Self)
    }
}

impl<S: Sync, T: DeserializeOwned + Validate> FromRequest<S> for Body<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        check_type(request.headers(), request.method())?;
        let bytes =
            tokio::time::timeout(BODY_TIME, read_body(request, BODY_LIMIT)).await.unwrap_or_else(|_| {
                Err(Problem::new(StatusCode::REQUEST_TIMEOUT, "timeout", "the body did not come in time"))
            })?;
        let value: Value = serde_json::from_slice(&bytes).map_err(|error| {
            let at = format!("the body is not JSON: line {}, column {}", error.line(), error.column());
            Problem::new(StatusCode::BAD_REQUEST, "malformed", at)
        })?;
        let Value::Object(members) = value else {
            return Err(Problem::field("", "invalid", "the body is a JSON object"));
        };
        read(members.into_iter().collect()).map(Self)
    }
}

/// 415 unless the body says that it is JSON; a PATCH may say that it is a merge patch (RFC 7396).
fn check_type(headers: &HeaderMap, method: &Method) -> Result<(), Problem> {
    let given = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let (essence, parameters) = given.split_once(';').unwrap_or((given, ""));
    let essence = essence.trim().to_ascii_lowercase();
    let known = essence == "application/json"
        || (*method == Method::PATCH && essence == "application/merge-patch+json");
    let charset = parameters.trim().to_ascii_lowercase();
    if known && matches!(charset.as_str(), "" | "charset=utf-8" | "charset=\"utf-8\"") {
        return Ok(());
    }
    let detail = match *method {
        Method::PATCH => "the body is application/merge-patch+json or application/json, in UTF-8",
        _ => "the body is application/json, in UTF-8",
    };
    Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported-media-type", detail))
}

/// The body's octets: 411 if there is none, 413 above `limit`.
pub(crate) async fn read_body(request: Request, limit: usize) -> Result<bytes::Bytes, Problem> {
    let headers = request.headers();
    if headers.get(header::CONTENT_ENCODING).is_some_and(|value| value != "identity") {
        let detail = "the body has no content encoding";
        return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported-media-type", detail));
    }
    let has_length =
        headers.contains_key(header::CONTENT_LENGTH) || headers.contains_key(header::TRANSFER_ENCODING);
    let body = request.into_body();
    if !has_length && body.is_end_stream() {
        return Err(Problem::new(StatusCode::LENGTH_REQUIRED, "length-required", "the call needs a body"));
    }
    let too_large = || {
        let detail = format!("the body has more than {limit} octets");
        Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "too-large", detail)
    };
    if body.size_hint().lower() > limit as u64 {
        return Err(too_large());
    }
    match Limited::new(body, limit).collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(too_large()),
        Err(_) => Err(Problem::new(StatusCode::BAD_REQUEST, "malformed", "the body ended before its end")),
    }
}

/// The parameters of a query string, decoded (application/x-www-form-urlencoded).
fn read_query(query: &str) -> Result<Vec<(String, Text)>, Problem> {
    let mut fields = Vec::new();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let name = decode(name).ok_or_else(|| Problem::field("", "encoding", "a name is not UTF-8"))?;
        let Some(value) = decode(value) else {
            return Err(Problem::field(&name, "encoding", "the value is not percent-encoded UTF-8"));
        };
        if fields.len() == PARAMETERS {
            return Err(Problem::field(&name, "unknown", "there are too many parameters"));
        }
        fields.push((name, Text(value)));
    }
    Ok(fields)
}

fn decode(text: &str) -> Option<String> {
    if !text.bytes().any(|octet| matches!(octet, b'%' | b'+')) {
        return Some(text.to_owned());
    }
    let digit = |octet: Option<u8>| char::from(octet?).to_digit(16);
    let mut octets = text.bytes();
    let mut decoded = Vec::with_capacity(text.len());
    while let Some(octet) = octets.next() {
        decoded.push(match octet {
            b'+' => b' ',
            b'%' => {
                let (high, low) = (digit(octets.next())?, digit(octets.next())?);
                u8::try_from(high << 4 | low).ok()?
            }
            octet => octet,
        });
    }
    String::from_utf8(decoded).ok()
}

/// Reads the fields of `T`, then checks them. Every wrong field is taken out and noted, until the rest can be read.
fn read<T: DeserializeOwned + Validate, V: FieldValue>(mut fields: Vec<(String, V)>) -> Result<T, Problem> {
    let mut errors = Vec::new();
    loop {
        let at = Cell::new(usize::MAX);
        let bad = match T::deserialize(Fields { fields: &fields, at: &at }) {
            Ok(value) => {
                if let Err(wrong) = value.validate() {
                    errors.extend(
                        wrong.into_errors().into_iter().flat_map(|(name, kind)| explain(&name, kind)),
                    );
                }
                errors.sort_by(|a: &FieldError, b| a.field.cmp(&b.field));
                errors.dedup_by(|later, earlier| later.field == earlier.field);
                return if errors.is_empty() { Ok(value) } else { Err(Problem::invalid(errors)) };
            }
            Err(bad) => bad,
        };
        let field = (at.get() < fields.len()).then(|| fields.remove(at.get()).0);
        let found = !matches!(bad, Bad::Missing(_)) && field.is_some();
        if let Bad::Missing(name) = &bad
            && errors.iter().any(|error| error.field == *name)
        {
            // It was there, and taken out because it was wrong.
            return Err(Problem::invalid(errors));
        }
        errors.push(match (bad, field.unwrap_or_default()) {
            (Bad::Missing(name), _) => FieldError::new(name, "missing", "it is required"),
            (Bad::Unknown, field) => FieldError::new(field, "unknown", "there is no such field"),
            (Bad::Duplicate, field) => FieldError::new(field, "duplicate", "it is given more than once"),
            (Bad::Other(message), field) => FieldError::new(field, "invalid", message),
        });
        if !found || errors.len() == ERRORS {
            return Err(Problem::invalid(errors));
        }
    }
}

impl Problem {
    /// 422 with what validator found wrong.
    pub(crate) fn from_validator(errors: validator::ValidationErrors) -> Self {
        Self::invalid(
            errors.into_errors().into_iter().flat_map(|(name, kind)| explain(&name, kind)).collect(),
        )
    }
}

/// What validator found wrong with one field, in words.
fn explain(name: &str, kind: ValidationErrorsKind) -> Vec<FieldError> {
    let field = camel_case(name);
    match kind {
        ValidationErrorsKind::Field(errors) => errors
            .into_iter()
            .map(|error| {
                let bound = |key: &str| error.params.get(key).map(Value::to_string);
                let message =
                    match (error.message.as_deref(), error.code.as_ref(), bound("min"), bound("max")) {
                        (Some(message), ..) => message.to_owned(),
                        (_, "required", ..) => "it is required".to_owned(),
                        (_, "range", Some(min), Some(max)) => format!("it is a number from {min} to {max}"),
                        (_, "length", Some(min), Some(max)) => format!("its length is from {min} to {max}"),
                        (_, "length", None, Some(max)) => format!("its length is at most {max}"),
                        _ => "it is not valid".to_owned(),
                    };
                let code = if error.code == "required" { "missing".into() } else { error.code };
                FieldError::new(field.clone(), code, message)
            })
            .collect(),
        ValidationErrorsKind::Struct(_) | ValidationErrorsKind::List(_) => {
            vec![FieldError::new(field, "invalid", "a part of it is not valid")]
        }
    }
}

/// `not_keyword` → `notKeyword`.
fn camel_case(name: &str) -> String {
    let mut upper = false;
    name.chars()
        .filter_map(|c| match c {
            '_' => {
                upper = true;
                None
            }
            c if std::mem::take(&mut upper) => Some(c.to_ascii_uppercase()),
            c => Some(c),
        })
        .collect()
}

/// Why a field cannot be read.
#[derive(Debug)]
enum Bad {
    Missing(&'static str),
    Unknown,
    Duplicate,
    Other(String),
}

impl fmt::Display for Bad {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}

impl std::error::Error for Bad {}

impl de::Error for Bad {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::Other(message.to_string())
    }
    fn missing_field(field: &'static str) -> Self {
        Self::Missing(field)
    }
    fn unknown_field(_: &str, _: &'static [&'static str]) -> Self {
        Self::Unknown
    }
    fn duplicate_field(_: &'static str) -> Self {
        Self::Duplicate
    }
}

/// A value of a parameter or of a body's member.
trait FieldValue {
    fn read<'de, S: DeserializeSeed<'de>>(&'de self, seed: S) -> Result<S::Value, Bad>;
}

impl FieldValue for Value {
    fn read<'de, S: DeserializeSeed<'de>>(&'de self, seed: S) -> Result<S::Value, Bad> {
        seed.deserialize(self).map_err(|error| Bad::Other(error.to_string()))
    }
}

/// The value of a parameter: text that may write a number or a truth.
struct Text(String);

impl FieldValue for Text {
    fn read<'de, S: DeserializeSeed<'de>>(&'de self, seed: S) -> Result<S::Value, Bad> {
        seed.deserialize(self)
    }
}

impl<'de> Deserializer<'de> for &'de Text {
    type Error = Bad;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Bad> {
        visitor.visit_borrowed_str(&self.0)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Bad> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Bad> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Bad> {
        match self.0.as_str() {
            "true" => visitor.visit_bool(true),
            "false" => visitor.visit_bool(false),
            _ => Err(Bad::Other("it is true or false".into())),
        }
    }

    fn deserialize_u64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Bad> {
        // A sign or a blank is no digit, though Rust's own reading takes a plus.
        let digits = !self.0.is_empty() && self.0.bytes().all(|octet| octet.is_ascii_digit());
        match self.0.parse() {
            Ok(number) if digits => visitor.visit_u64(number),
            _ => Err(Bad::Other("it is a whole number".into())),
        }
    }

    fn deserialize_u32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Bad> {
        self.deserialize_u64(visitor)
    }

    fn deserialize_u16<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Bad> {
        self.deserialize_u64(visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        names: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Bad> {
        if !names.contains(&self.0.as_str()) {
            return Err(Bad::Other(format!("it is one of {}", names.join(", "))));
        }
        visitor.visit_enum(de::value::StrDeserializer::<Bad>::new(&self.0))
    }

    serde::forward_to_deserialize_any! {
        i8 i16 i32 i64 u8 f32 f64 char str string bytes byte_buf unit unit_struct seq tuple tuple_struct map struct
        identifier ignored_any
    }
}

/// The fields of a struct; `at` is the one being read.
struct Fields<'a, V> {
    fields: &'a [(String, V)],
    at: &'a Cell<usize>,
}

impl<'de, F: FieldValue> Deserializer<'de> for Fields<'de, F> {
    type Error = Bad;

    fn deserialize_any<W: Visitor<'de>>(self, visitor: W) -> Result<W::Value, Bad> {
        let at = self.at;
        let value = visitor.visit_map(FieldAccess { next: 0, of: self })?;
        at.set(usize::MAX);
        Ok(value)
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 u8 u16 u32 u64 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct seq tuple tuple_struct map struct enum identifier ignored_any
    }
}

struct FieldAccess<'de, V> {
    next: usize,
    of: Fields<'de, V>,
}

impl<'de, V: FieldValue> MapAccess<'de> for FieldAccess<'de, V> {
    type Error = Bad;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Bad> {
        self.of.at.set(self.next);
        let Some((name, _)) = self.of.fields.get(self.next) else { return Ok(None) };
        self.next += 1;
        seed.deserialize(de::value::BorrowedStrDeserializer::new(name)).map(Some)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, Bad> {
        self.of.fields[self.of.at.get()].1.read(seed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::Time;
    use proptest::prelude::*;

    #[derive(Debug, Deserialize, Validate, PartialEq)]
    #[serde(rename_all = "camelCase", deny_unknown_fields)]
    struct Sample {
        #[validate(range(min = 1, max = 200))]
        limit: Option<u16>,
        after: Option<Time>,
        #[validate(length(min = 1, max = 5))]
        not_keyword: Option<String>,
        deep: Option<bool>,
        #[validate(required)]
        name: Option<String>,
    }

    fn errors(query: &str) -> Vec<(String, String)> {
        let read: Result<Sample, Problem> = read_query(query).and_then(read);
        match read {
            Ok(_) => vec![],
            Err(problem) => problem.errors.into_iter().map(|e| (e.field, e.code.into_owned())).collect(),
        }
    }

    #[test]
    fn good_parameters_are_read() {
        let sample: Sample =
            read_query("limit=7&after=1970-01-01T00%3A00%3A01Z&notKeyword=%24a+b&deep=true&name=")
                .and_then(read)
                .unwrap();
        assert_eq!(
            sample,
            Sample {
                limit: Some(7),
                after: Some(Time(1000)),
                not_keyword: Some("$a b".into()),
                deep: Some(true),
                name: Some(String::new()),
            }
        );
    }

    #[test]
    fn every_wrong_field_has_one_entry() {
        let table: &[(&str, &[(&str, &str)])] = &[
            ("name=x", &[]),
            ("", &[("name", "missing")]),
            ("name=x&limit=0", &[("limit", "range")]),
            ("name=x&limit=201", &[("limit", "range")]),
            ("name=x&limit=-1", &[("limit", "invalid")]),
            ("name=x&limit=%2B1", &[("limit", "invalid")]),
            ("name=x&limit=99999999999999999999", &[("limit", "invalid")]),
            ("name=x&limit=70000", &[("limit", "invalid")]),
            ("name=x&limit=", &[("limit", "invalid")]),
            ("name=x&name=y", &[("name", "duplicate")]),
            ("name=x&nope=1", &[("nope", "unknown")]),
            ("name=x&NAME=y", &[("NAME", "unknown")]),
            ("name=%ff", &[("name", "encoding")]),
            ("name=%4", &[("name", "encoding")]),
            (
                "limit=x&after=soon&notKeyword=&deep=1&other=2",
                &[
                    ("after", "invalid"),
                    ("deep", "invalid"),
                    ("limit", "invalid"),
                    ("name", "missing"),
                    ("other", "unknown"),
                ],
            ),
        ];
        for (query, expected) in table {
            let mut found = errors(query);
            // Fields that validator checks are only seen when all others can be read.
            found.retain(|(field, _)| field != "notKeyword");
            let expected: Vec<_> = expected.iter().map(|(f, c)| ((*f).to_owned(), (*c).to_owned())).collect();
            assert_eq!(found, expected, "{query}");
        }
    }

    #[test]
    fn a_name_in_rust_is_named_as_in_json() {
        assert_eq!(camel_case("not_keyword"), "notKeyword");
        assert_eq!(camel_case("limit"), "limit");
    }

    proptest! {
        #[test]
        fn any_query_string_is_read_or_refused(query in "[a-z=&%+0-9A-F]{0,80}") {
            let _ = errors(&query);
        }
    }
}
