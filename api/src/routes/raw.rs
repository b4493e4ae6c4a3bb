//! A message as received, and its parts.

use std::sync::Arc;

use axum::extract::{RawPathParams, State};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, header};
use schema::MessageId;

use super::PathId;
use super::messages::apart;
use crate::auth::Caller;
use crate::error::{Answer, Problem};
use crate::json::Id;
use crate::memory::Held;
use crate::octets::{Octets, disposition, safe_type};
use crate::router::Api;
use crate::valid::{NoParameters, Parameters};

/// Read a message as received
///
/// Byte for byte. One byte range may be asked for.
#[utoipa::path(
    get, path = "/v1/messages/{id}/raw", tag = "Messages", operation_id = "readRaw",
    params(
        ("id" = Id, Path, description = "The message."),
        ("Range" = Option<String>, Header, description = "One range of bytes."),
        ("If-None-Match" = Option<String>, Header, description = "Only if it has none of these tags."),
    ),
    responses(
        (status = 200, description = "The bytes.", body = [u8], content_type = "message/rfc822"),
        (status = 206, description = "A range of them.", body = [u8], content_type = "message/rfc822"),
        (status = 304, description = "The client has them."),
        (status = 416, description = "Nothing lies in the range."),
    )
)]
pub(crate) async fn message(
    State(api): State<Arc<Api>>,
    _: Parameters<NoParameters>,
    caller: Caller,
    PathId(id): PathId,
    headers: HeaderMap,
) -> Answer {
    let (raw, held) = read(&api, &caller, id).await?;
    let octets = Octets {
        bytes: Bytes::from(raw),
        held: Some(held),
        tag: id.text(),
        content_type: HeaderValue::from_static("message/rfc822"),
        disposition: disposition(false, Some(&format!("{}.eml", id.text()))),
    };
    octets.answer(&headers)
}

/// The bytes of a message whose row is there: a blob alone may be that of a deleted one.
async fn read(api: &Api, caller: &Caller, id: Id) -> Answer<(Vec<u8>, Held)> {
    let id = MessageId(id.0);
    let message = caller.account.message(id).await?.ok_or_else(Problem::not_found)?;
    let held = api.memory.hold(message.row.size).await?;
    let raw = caller.account.raw(id).await?.ok_or_else(Problem::not_found)?;
    Ok((raw, held))
}

/// Read a part
///
/// Its transfer encoding undone; text keeps its charset. What a browser could run is served as octets to be saved.
#[utoipa::path(
    get, path = "/v1/messages/{id}/parts/{partId}", tag = "Messages", operation_id = "readPart",
    params(
        ("id" = Id, Path, description = "The message."),
        ("partId" = String, Path, description = "The part's number, such as `2.1`."),
        ("Range" = Option<String>, Header, description = "One range of bytes."),
        ("If-None-Match" = Option<String>, Header, description = "Only if it has none of these tags."),
    ),
    responses(
        (status = 200, description = "The bytes.", body = [u8], content_type = "application/octet-stream"),
        (status = 206, description = "A range of them.", body = [u8], content_type = "application/octet-stream"),
        (status = 304, description = "The client has them."),
        (status = 416, description = "Nothing lies in the range."),
    )
)]
pub(crate) async fn part(
    State(api): State<Arc<Api>>,
    _: Parameters<NoParameters>,
    caller: Caller,
    PathId(id): PathId,
    path: RawPathParams,
    headers: HeaderMap,
) -> Answer {
    let number = path.iter().find(|(name, _)| *name == "partId").map(|(_, value)| value.to_owned());
    let number = number.filter(|number| is_part_number(number)).ok_or_else(Problem::not_found)?;
    let (raw, held) = read(&api, &caller, id).await?;
    let limits = caller.account.instance().settings.limits;
    let tag = format!("{}-{number}", id.text());
    let octets = apart(raw.len(), move || {
        let parsed = mail::parse(&raw, &limits);
        parsed.part(&number).map(|part| {
            let (content_type, is_shown) = safe_type(&part.content_type, part.charset.as_deref());
            let disposition = disposition(is_shown, part.name.as_deref());
            let bytes = Bytes::from(part.bytes.into_owned());
            Octets { bytes, held: Some(held), tag, content_type, disposition }
        })
    });
    let mut response = octets.await?.ok_or_else(Problem::not_found)?.answer(&headers)?;
    response.headers_mut().remove(header::CONTENT_ENCODING);
    Ok(response)
}

/// Digits and dots, no more of them than a part's number has.
fn is_part_number(text: &str) -> bool {
    (1..=400).contains(&text.len()) && text.bytes().all(|octet| octet.is_ascii_digit() || octet == b'.')
}
