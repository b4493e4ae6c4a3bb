//! The REST API, as a client of the account uses it.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use reqwest::{Client, Method, StatusCode, redirect};
use seal::Secret;
use serde_json::{Value, json};

use super::Trouble;
use super::message::Message;
use super::trust::{Authority, trouble};
use crate::failure::Failure;

/// How long a connection may take to be made, and one call.
const CONNECT_TIME: Duration = Duration::from_secs(5);
const CALL_TIME: Duration = Duration::from_secs(10);
/// The newest messages of the inbox among which the probe's is looked for.
const NEWEST: usize = 50;
/// Messages of older probes that are deleted at once.
const OLDER: usize = 100;
/// No probe takes longer: another one's message that is younger may be awaited still.
const AWAITED: SignedDuration = SignedDuration::from_secs(660);

const WHO: &str = "the API";

/// The API with, once signed in, a session.
pub struct Rest {
    client: Client,
    url: String,
    token: Option<Secret<String>>,
}

/// A message of the account.
#[derive(Debug, Clone)]
pub struct Listed {
    id: String,
    received_at: Option<Timestamp>,
}

impl Rest {
    /// The API at `url`. Nothing is sent yet.
    ///
    /// # Errors
    /// 78 if the certificates of `authority` cannot be used.
    pub fn new(url: &str, authority: &Authority) -> Result<Self, Failure> {
        let mut client = Client::builder()
            .connect_timeout(CONNECT_TIME)
            .timeout(CALL_TIME)
            // A password is for nobody but whom it was meant for.
            .redirect(redirect::Policy::none())
            .no_proxy();
        for certificate in &authority.of_http {
            client = client.add_root_certificate(certificate.clone());
        }
        let client = client
            .build()
            .map_err(|error| Failure::config(Failure::of("the certificates that are trusted", &error)))?;
        Ok(Self { client, url: url.to_owned(), token: None })
    }

    /// The status and the JSON of an answer, if it is a success or one of `accepted`.
    async fn call(
        &self,
        method: Method,
        path: &str,
        body: Option<Value>,
        accepted: &[StatusCode],
    ) -> Result<(StatusCode, Value), Trouble> {
        let mut request = self.client.request(method, format!("{}{path}", self.url));
        if let Some(token) = &self.token {
            request = request.bearer_auth(token.expose());
        }
        if let Some(body) = &body {
            request = request.json(body);
        }
        let failed = |error: reqwest::Error| trouble(WHO, &error.without_url());
        let answer = request.send().await.map_err(failed)?;
        let status = answer.status();
        if !status.is_success() && !accepted.contains(&status) {
            let why = format!("{WHO} answered {}", status.as_u16());
            let may_pass = status.is_server_error()
                || [StatusCode::TOO_MANY_REQUESTS, StatusCode::REQUEST_TIMEOUT].contains(&status);
            return Err(if may_pass { Trouble::Passing(why) } else { Trouble::Lasting(why) });
        }
        let body = answer.bytes().await.map_err(failed)?;
        match serde_json::from_slice(&body) {
            Ok(value) => Ok((status, value)),
            Err(_) if body.is_empty() => Ok((status, Value::Null)),
            Err(_) => Err(Trouble::Passing(format!("{WHO} answered what is no JSON"))),
        }
    }

    /// Signs in.
    pub async fn sign_in(&mut self, address: &str, password: &Secret<String>) -> Result<Option<()>, Trouble> {
        let body = json!({ "address": address, "password": password.expose() });
        let (status, answer) =
            self.call(Method::POST, "/v1/session", Some(body), &[StatusCode::UNAUTHORIZED]).await?;
        if status == StatusCode::UNAUTHORIZED {
            return Err(Trouble::Lasting("the address or the password is wrong".to_owned()));
        }
        match answer["token"].as_str() {
            Some(token) => {
                self.token = Some(Secret::new(token.to_owned()));
                Ok(Some(()))
            }
            None => Err(Trouble::Lasting(format!("what answers is not {WHO}"))),
        }
    }

    /// Ends the session, if there is one.
    pub async fn sign_out(&mut self) -> Result<(), Trouble> {
        if self.token.is_some() {
            self.call(Method::DELETE, "/v1/session", None, &[StatusCode::UNAUTHORIZED]).await?;
            self.token = None;
        }
        Ok(())
    }

    /// The message in the inbox, as often as it was sent; `None` if it is not there yet.
    pub async fn in_inbox(&self, message: &Message) -> Result<Option<Vec<Listed>>, Trouble> {
        let path = format!("/v1/messages?mailbox=inbox&limit={NEWEST}");
        let (_, page) = self.call(Method::GET, &path, None, &[]).await?;
        let subject = message.subject();
        let listed: Vec<Listed> =
            items(&page).filter(|head| head["subject"] == *subject).filter_map(Listed::of).collect();
        Ok(Some(listed).filter(|listed| !listed.is_empty()))
    }

    /// Whether search finds the message; `None` if not yet.
    pub async fn found(&self, message: &Message) -> Result<Option<()>, Trouble> {
        let page = self.search(message.query(), 10).await?;
        let subject = message.subject();
        let is_found = items(&page).any(|head| head["subject"] == *subject);
        Ok(is_found.then_some(()))
    }

    /// What probes have left that ended before this one began: from the same sender, so many older than `own`.
    pub async fn older(&self, message: &Message, own: &[Listed]) -> Result<Vec<Listed>, Trouble> {
        let Some(received_at) = own.iter().filter_map(|listed| listed.received_at).min() else {
            return Ok(Vec::new());
        };
        let Ok(until) = received_at.checked_sub(AWAITED) else { return Ok(Vec::new()) };
        let page = self.search(format!("{} before:{until:.0}", Message::query_for_all()), OLDER).await?;
        let sender: &str = message.from.as_ref();
        let is_left = |head: &&Value| {
            let from = head["from"][0]["email"].as_str().unwrap_or_default();
            Message::is_of_a_probe(head["subject"].as_str().unwrap_or_default())
                && from.eq_ignore_ascii_case(sender)
        };
        Ok(items(&page).filter(is_left).filter_map(Listed::of).collect())
    }

    async fn search(&self, query: String, limit: usize) -> Result<Value, Trouble> {
        let body = json!({ "q": query, "limit": limit, "sort": "date" });
        Ok(self.call(Method::POST, "/v1/search", Some(body), &[]).await?.1)
    }

    /// Deletes messages for good; those that are gone already are.
    pub async fn delete(&self, messages: &[Listed]) -> Result<(), Trouble> {
        if messages.is_empty() {
            return Ok(());
        }
        let ids: Vec<&str> = messages.iter().map(|message| &*message.id).collect();
        // Into the trash, and out of it.
        for _ in 0..2 {
            let body = json!({ "ids": ids, "delete": true });
            let (_, answer) = self.call(Method::POST, "/v1/messages/batch", Some(body), &[]).await?;
            let mut statuses = answer["results"].as_array().into_iter().flatten().map(|each| &each["status"]);
            if let Some(status) = statuses.find(|&status| *status != 204 && *status != 404) {
                return Err(Trouble::Passing(format!("{WHO} answered {status} for a message")));
            }
        }
        Ok(())
    }
}

impl Listed {
    fn of(head: &Value) -> Option<Self> {
        let received_at = head["receivedAt"].as_str().and_then(|time| time.parse().ok());
        Some(Self { id: head["id"].as_str()?.to_owned(), received_at })
    }
}

fn items(page: &Value) -> impl Iterator<Item = &Value> {
    page["items"].as_array().into_iter().flatten()
}
