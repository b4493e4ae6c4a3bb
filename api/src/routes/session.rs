//! Signing in and out.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::response::Response;
use http::HeaderValue;
use schema::{Instance, Millis};
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;
use utoipa::ToSchema;
use validator::Validate;

use crate::auth::{Caller, Peer};
use crate::error::{Answer, Problem};
use crate::json::{Id, Time, created, no_content, ok};
use crate::router::{Api, ApiSettings, Secretive};
use crate::valid::{Body, NoParameters, Parameters};

/// How long wrong passwords are counted, and how long one waits after too many.
const WINDOW: Duration = Duration::from_secs(15 * 60);
/// Calls that wait for the check of their password, for each that is being checked; more get 429.
const WAITING: usize = 16;

/// Wrong passwords for one address from all peers, as a multiple of those from one.
const PEERS: u64 = 10;

/// What keeps guessing slow and cheap to refuse.
pub(crate) struct SignIn {
    checks: Semaphore,
    waiting: Semaphore,
    failures_per_address: u64,
    failures_per_peer: u64,
}

impl SignIn {
    pub(crate) fn new(settings: &ApiSettings) -> Self {
        Self {
            checks: Semaphore::new(settings.sign_ins),
            waiting: Semaphore::new(settings.sign_ins * WAITING),
            failures_per_address: settings.failures_per_address,
            failures_per_peer: settings.failures_per_peer,
        }
    }

    /// What wrong passwords are counted for, and how many there may be: the address from this peer, the peer, and the
    /// address from anywhere, so that a stranger does not keep its owner out by a few of them.
    fn counts(&self, instance: &Instance, address: &str, peer: Peer) -> Vec<Count> {
        // However the address is written, it is the same that has to wait.
        let address = schema::normal_address(address).unwrap_or_else(|| address.to_lowercase());
        let everywhere = Count {
            key: instance.hash("failures of an address", address.as_bytes()),
            limit: self.failures_per_address.saturating_mul(PEERS),
        };
        let network = peer.0.map(|ip| match ip {
            IpAddr::V4(ip) => ip.octets().to_vec(),
            IpAddr::V6(ip) => ip.octets()[..8].to_vec(),
        });
        let here = [network.as_deref().unwrap_or_default(), b" ", address.as_bytes()].concat();
        let here = Count {
            key: instance.hash("failures of an address from a peer", &here),
            limit: self.failures_per_address,
        };
        let mut counts = vec![here, everywhere];
        counts.extend(network.map(|network| Count {
            key: instance.hash("failures of a peer", &network),
            limit: self.failures_per_peer,
        }));
        counts
    }
}

/// What wrong passwords are counted under, and how many make it wait.
struct Count {
    key: [u8; 32],
    limit: u64,
}

/// The key of the time until which an address or a peer has to wait.
fn wait_key(key: &[u8; 32]) -> Vec<u8> {
    [b"wait".as_slice(), key].concat()
}

impl Api {
    /// 429 while the address or the peer has to wait.
    async fn check_wait(&self, counts: &[Count]) -> Result<(), Problem> {
        let now = self.instance.clock.now();
        for count in counts {
            let value = self.instance.backend.cache.get(&wait_key(&count.key)).await.ok().flatten();
            let until = value.and_then(|value| value.try_into().ok()).map_or(0, Millis::from_be_bytes);
            if until > now {
                let seconds = (until - now).div_ceil(1000);
                return Err(Problem::too_many("too many wrong passwords: wait before the next one", seconds));
            }
        }
        Ok(())
    }

    /// Counts a wrong password. A cache that does not answer counts nothing: sign-in goes on without it.
    async fn count_failure(&self, counts: &[Count]) {
        let cache = &self.instance.backend.cache;
        for Count { key, limit } in counts {
            let Ok(failures) = cache.count(key, WINDOW).await else { continue };
            if failures >= *limit {
                let until = self.instance.clock.now() + WINDOW.as_millis() as Millis;
                let _ = cache.put(&wait_key(key), until.to_be_bytes().to_vec(), WINDOW).await;
                let _ = cache.remove(key).await;
            }
        }
    }
}

/// Who signs in.
#[derive(Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SignInBody {
    /// One of the account's addresses.
    #[validate(required, length(min = 1, max = 320))]
    #[schema(required, nullable = false, value_type = String)]
    address: Option<String>,
    /// The account's password.
    #[validate(required, length(min = 1, max = 1024))]
    #[schema(required, nullable = false, value_type = String, format = Password)]
    password: Option<String>,
}

/// A new session.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct NewSession {
    /// What `Authorization: Bearer` takes. It is shown this once.
    token: String,
    /// Whose session it is.
    account_id: Id,
    /// When the token stops working.
    expires_at: Time,
}

/// A session.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Session {
    /// Whose session it is.
    account_id: Id,
    /// When the token stops working.
    expires_at: Time,
}

/// Sign in
///
/// A wrong password, an unknown address and a locked account are answered alike and after the same time.
#[utoipa::path(
    post, path = "/v1/session", tag = "Session", operation_id = "signIn", security(()),
    request_body = SignInBody,
    responses((status = 201, description = "Signed in.", body = NewSession))
)]
pub(crate) async fn create(
    State(api): State<Arc<Api>>,
    _: Parameters<NoParameters>,
    peer: Peer,
    Body(body): Body<SignInBody>,
) -> Answer {
    let (address, password) = (body.address.unwrap_or_default(), body.password.unwrap_or_default());
    let counts = api.sign_in.counts(&api.instance, &address, peer);
    api.check_wait(&counts).await?;
    let busy = || Problem::too_many("too many passwords are being checked: try again", 1);
    let _waits = api.sign_in.waiting.try_acquire().map_err(|_| busy())?;
    let _checks = api.sign_in.checks.acquire().await.map_err(|_| busy())?;
    // Those that were counted meanwhile count for those that waited.
    api.check_wait(&counts).await?;
    let Some(session) = api.instance.sign_in(&address, &password).await? else {
        api.count_failure(&counts).await;
        metrics::counter!("signet_api_sign_ins_total", "result" => "refused").increment(1);
        let mut problem = Problem::unauthorized();
        problem.detail = "the address or the password is wrong".into();
        return Err(problem);
    };
    metrics::counter!("signet_api_sign_ins_total", "result" => "accepted").increment(1);
    let new = NewSession {
        token: session.credential.to_text().expose().clone(),
        account_id: Id(session.account.0),
        expires_at: Time(session.expires_at),
    };
    Ok(secretive(created("/v1/session", &new)))
}

/// Read the session
#[utoipa::path(
    get, path = "/v1/session", tag = "Session", operation_id = "readSession",
    responses((status = 200, description = "The session of the token.", body = Session))
)]
pub(crate) async fn read(_: Parameters<NoParameters>, caller: Caller) -> Answer {
    let session = Session { account_id: Id(caller.account.id().0), expires_at: Time(caller.expires_at) };
    Ok(secretive(ok(&session)))
}

/// Sign out
///
/// The token stops working at once.
#[utoipa::path(
    delete, path = "/v1/session", tag = "Session", operation_id = "signOut",
    responses((status = 204, description = "Signed out."))
)]
pub(crate) async fn end(State(api): State<Arc<Api>>, _: Parameters<NoParameters>, caller: Caller) -> Answer {
    api.instance.sign_out(&caller.credential).await?;
    Ok(no_content())
}

fn secretive(mut response: Response) -> Response {
    response.extensions_mut().insert(Secretive);
    response.headers_mut().insert(http::header::PRAGMA, HeaderValue::from_static("no-cache"));
    response
}
