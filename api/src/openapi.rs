//! The description of the API (OpenAPI 3.1), made from the routes themselves.

use std::sync::OnceLock;

use axum::response::Response;
use bytes::Bytes;
use http::{HeaderValue, header};
use utoipa::openapi::path::Operation;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{Content, Ref, RefOr, ResponseBuilder};
use utoipa::{Modify, OpenApi};

use crate::error::{Answer, ProblemJson};
use crate::routes::{
    account, changes, discussions, events, mailboxes, messages, raw, search, session, threads,
};
use crate::valid::{NoParameters, Parameters};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Signet",
        description = "Read, sort and search one account's mail.\n\nSign in with `POST /v1/session`, then send the token as \
            `Authorization: Bearer` with every call. Ids are 32 hexadecimal digits and mean nothing outside their account: \
            what belongs to another account is 404. Times are RFC 3339 in UTC. Listings give `nextCursor`, which the same \
            call takes as `cursor`. Parameters and members that a call does not know are 422. Errors are \
            `application/problem+json` (RFC 9457). Every answer has an `X-Request-Id`."
    ),
    paths(
        session::create, session::read, session::end, account::read,
        mailboxes::list, mailboxes::create, mailboxes::read, mailboxes::rename, mailboxes::remove,
        messages::list, messages::read, messages::state::patch, messages::state::remove, messages::batch::change,
        raw::message, raw::part,
        threads::list, threads::read, discussions::list, discussions::read,
        search::by_url, search::by_body, changes::list, events::follow, document,
    ),
    components(schemas(ProblemJson)),
    security(("session" = [])),
    modifiers(&Common),
)]
struct Description;

/// What all calls have in common: how one signs in, and the problems any call may answer with.
struct Common;

impl Modify for Common {
    fn modify(&self, api: &mut utoipa::openapi::OpenApi) {
        let scheme = HttpBuilder::new()
            .scheme(HttpAuthScheme::Bearer)
            .description(Some("The token of `POST /v1/session`."))
            .build();
        api.components.get_or_insert_default().add_security_scheme("session", SecurityScheme::Http(scheme));
        for (path, item) in &mut api.paths.paths {
            let has_body = [&mut item.post, &mut item.patch];
            for operation in has_body.into_iter().flatten() {
                let codes = [
                    ("400", "The body is not JSON."),
                    ("411", "The body is missing."),
                    ("413", "The body is too large."),
                    ("415", "The body is of another type."),
                ];
                codes.into_iter().for_each(|(status, what)| add_problem(operation, status, what));
            }
            let all = [&mut item.get, &mut item.post, &mut item.patch, &mut item.delete];
            for operation in all.into_iter().flatten() {
                if path != "/v1/openapi.json" {
                    add_problem(operation, "401", "There is no session, or it is over.");
                }
                if path.contains('{') {
                    add_problem(operation, "404", "The account has nothing with this id.");
                }
                if path == "/v1/session" && operation.request_body.is_some() {
                    add_problem(
                        operation,
                        "429",
                        "There were too many wrong passwords: wait for `Retry-After`.",
                    );
                }
                add_problem(operation, "406", "The client does not take the answer's type.");
                add_problem(operation, "422", "A parameter or a member is wrong, or not known.");
                add_problem(operation, "503", "The answer cannot be had now: try again.");
                describe_problems(operation);
            }
        }
    }
}

fn problem(description: &str) -> utoipa::openapi::Response {
    let content = Content::new(Some(Ref::from_schema_name("Problem")));
    ResponseBuilder::new().description(description).content("application/problem+json", content).build()
}

fn add_problem(operation: &mut Operation, status: &str, description: &str) {
    let known = &mut operation.responses.responses;
    known.entry(status.to_owned()).or_insert_with(|| RefOr::T(problem(description)));
}

/// Errors that a route names itself are problems too.
fn describe_problems(operation: &mut Operation) {
    for (status, response) in &mut operation.responses.responses {
        if let RefOr::T(response) = response
            && status.as_str() >= "400"
            && response.content.is_empty()
        {
            *response = problem(&response.description);
        }
    }
}

fn bytes() -> Bytes {
    static BYTES: OnceLock<Bytes> = OnceLock::new();
    BYTES
        .get_or_init(|| {
            let text = Description::openapi().to_json().expect("a description of ours is JSON");
            Bytes::from(text)
        })
        .clone()
}

/// Read this description
#[utoipa::path(
    get, path = "/v1/openapi.json", tag = "Description", operation_id = "readDescription", security(()),
    responses((status = 200, description = "OpenAPI 3.1.", content_type = "application/json", body = Object))
)]
pub(crate) async fn document(_: Parameters<NoParameters>) -> Answer {
    let mut response = Response::new(bytes().into());
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    Ok(response)
}
