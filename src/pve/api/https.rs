//! The API over HTTPS: one of several hosts, the next one when it fails, also in the middle of a
//! run. Blocking; `Api` takes it off the runtime. Decides nothing about guests.
//!
//! Requests go to `/api2/extjs`, which PVE's own web interface uses: its answers hold status and
//! message in their JSON, where `/api2/json` has the message only in the HTTP status line.

use super::error::ApiError;
use super::login::{Credentials, Endpoint, LoginForm, Ticket};
use super::request::{Method, Request};
use super::tls::{Trust, client_config};
use super::wire::{NotConnected, agent};
use crate::clock::Stopwatch;
use crate::secret::Secret;
use serde_json::Value;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Where and as whom.
#[derive(Debug, Clone)]
pub struct HttpsSettings {
    /// The hosts, the preferred one first.
    pub hosts: Vec<Endpoint>,
    /// How we are let in.
    pub credentials: Credentials,
    /// Which certificates are good.
    pub trust: Trust,
    /// The age at which a ticket is renewed.
    pub renewed_after: Duration,
}

/// Pauses before the hosts are asked again, once one of them had answered in this run: a node that
/// restarts its proxy is back soon.
const PAUSES: [Duration; 3] =
    [Duration::from_secs(1), Duration::from_secs(3), Duration::from_secs(6)];

/// Answers are lists of guests and snapshots: some megabytes in the largest clusters.
const LARGEST: u64 = 256 << 20;

/// The client.
#[derive(Debug)]
pub struct Https {
    settings: HttpsSettings,
    agent: ureq::Agent,
    state: Mutex<State>,
    login: Mutex<()>,
}

#[derive(Debug, Default)]
struct State {
    /// The place of the host that answered last.
    current: usize,
    /// Whether any host answered in this run.
    answered: bool,
    ticket: Option<Ticket>,
}

/// What one host made of a request.
enum Attempt {
    /// It was surely not carried out.
    Unsent(String),
    /// It may have been.
    Broken(String),
    /// The answer is an error.
    Final(ApiError),
}

type Answered = Result<(u16, Value), Attempt>;

impl Https {
    /// Makes the client; opens no connection.
    ///
    /// # Errors
    /// The certificates to trust cannot be read.
    pub fn new(settings: HttpsSettings) -> Result<Self, ApiError> {
        let agent = agent(client_config(&settings.trust)?);
        Ok(Self { settings, agent, state: Mutex::default(), login: Mutex::default() })
    }

    /// Sends a request and gives back the data of its answer.
    ///
    /// # Errors
    /// No host takes it, it is refused, or it may have been carried out without an answer.
    pub fn call(&self, request: &Request) -> Result<Value, ApiError> {
        let mut tried = Vec::new();
        for pause in std::iter::once(None).chain(PAUSES.into_iter().map(Some)) {
            if let Some(pause) = pause {
                if !self.state().answered || !request.retried {
                    break;
                }
                std::thread::sleep(pause);
            }
            tried.clear();
            if let Some(answer) = self.round(request, &mut tried) {
                return answer;
            }
        }
        Err(ApiError::Unreachable { tried })
    }

    /// Asks each host once, the one that answered last first.
    fn round(&self, request: &Request, tried: &mut Vec<String>) -> Option<Result<Value, ApiError>> {
        let (first, count) = (self.state().current, self.settings.hosts.len());
        for step in 0..count {
            let place = (first + step) % count;
            let host = &self.settings.hosts[place];
            match self.ask(host, request) {
                Ok(data) => {
                    let mut state = self.state();
                    (state.current, state.answered) = (place, true);
                    return Some(Ok(data));
                }
                Err(Attempt::Final(error)) => return Some(Err(error)),
                Err(Attempt::Broken(why)) if request.method != Method::Get => {
                    let (request, host) = (request.to_string(), host.to_string());
                    return Some(Err(ApiError::Unclear { request, host, why }));
                }
                Err(Attempt::Unsent(why) | Attempt::Broken(why)) => {
                    tracing::debug!(%host, %request, "no answer: {why}");
                    tried.push(format!("{host}: {why}"));
                }
            }
        }
        None
    }

    fn ask(&self, host: &Endpoint, request: &Request) -> Result<Value, Attempt> {
        let ticket = self.ticket(host)?;
        let (status, body) = match self.send(host, request, ticket.as_ref())? {
            // The ticket ran out, or another host's key signed it: once more with a new one.
            (401, _) if ticket.is_some() => {
                self.state().ticket = None;
                let ticket = self.ticket(host)?;
                self.send(host, request, ticket.as_ref())?
            }
            answer => answer,
        };
        data_of(host, request, status, body)
    }

    fn send(&self, host: &Endpoint, request: &Request, ticket: Option<&Ticket>) -> Answered {
        let uri = format!("https://{host}/api2/extjs{}", request.path);
        let watch = Stopwatch::start();
        let pairs = request.params.iter().map(|(name, value)| (*name, value.as_str()));
        let headers = self.headers(request.method, ticket);
        let answer = match request.method {
            Method::Get => with(self.agent.get(&uri).query_pairs(pairs), &headers).call(),
            Method::Delete => with(self.agent.delete(&uri).query_pairs(pairs), &headers).call(),
            Method::Post => with(self.agent.post(&uri), &headers).send_form(pairs),
        };
        let answer = read(answer);
        let millis = watch.elapsed().as_millis();
        let status = answer.as_ref().map_or(0, |(status, _)| *status);
        tracing::debug!(%host, %request, millis, status, "asked");
        answer
    }

    fn headers(&self, method: Method, ticket: Option<&Ticket>) -> Vec<(&'static str, String)> {
        if let Credentials::Token(token) = &self.settings.credentials {
            return vec![("Authorization", format!("PVEAPIToken={}", token.reveal()))];
        }
        let Some(ticket) = ticket else { return Vec::new() };
        let mut headers = vec![("Cookie", format!("PVEAuthCookie={}", ticket.ticket.reveal()))];
        if method != Method::Get {
            headers.push(("CSRFPreventionToken", ticket.csrf.reveal().to_owned()));
        }
        headers
    }

    /// The ticket that serves now: the one there is, a renewed one, or one of a new login. One
    /// login at a time.
    fn ticket(&self, host: &Endpoint) -> Result<Option<Ticket>, Attempt> {
        let Credentials::Password { username, password, otp } = &self.settings.credentials else {
            return Ok(None);
        };
        let _alone = self.login.lock().unwrap_or_else(PoisonError::into_inner);
        let present = self.state().ticket.clone();
        let renewed = match present {
            Some(ticket) if ticket.since.elapsed() < self.settings.renewed_after => {
                return Ok(Some(ticket));
            }
            // PVE takes a valid ticket for the password, and asks for no second factor then.
            Some(old) => self.log_in(host, username, old.ticket.reveal().to_owned(), None).ok(),
            None => None,
        };
        let ticket = match renewed {
            Some(ticket) => ticket,
            None => self.log_in(host, username, password.reveal().to_owned(), otp.as_ref())?,
        };
        self.state().ticket = Some(ticket.clone());
        Ok(Some(ticket))
    }

    fn log_in(
        &self,
        host: &Endpoint,
        username: &str,
        password: String,
        otp: Option<&Secret>,
    ) -> Result<Ticket, Attempt> {
        let answer = self.post_login(host, &LoginForm { username, password, challenge: None })?;
        if answer["NeedTFA"] != 1 {
            return ticket_in(host, &answer);
        }
        let refused = |reason: &str| {
            let (host, reason) = (host.to_string(), reason.to_owned());
            Attempt::Final(ApiError::Login { host, reason })
        };
        let otp = otp
            .ok_or_else(|| refused("a second factor is needed: give --otp, or use an API token"))?;
        let challenge = answer["ticket"].as_str().ok_or_else(|| refused("no challenge came"))?;
        let form = LoginForm {
            username,
            password: format!("totp:{}", otp.reveal()),
            challenge: Some(challenge),
        };
        ticket_in(host, &self.post_login(host, &form)?)
    }

    fn post_login(&self, host: &Endpoint, form: &LoginForm<'_>) -> Result<Value, Attempt> {
        let uri = format!("https://{host}/api2/extjs/access/ticket");
        // A login changes nothing: whatever breaks, the request itself was not sent.
        let (status, body) = read(self.agent.post(&uri).send_form(form.fields())).map_err(
            |attempt| match attempt {
                Attempt::Broken(why) => Attempt::Unsent(why),
                other => other,
            },
        )?;
        match (status, body["success"] == 1) {
            (200, true) => Ok(body["data"].clone()),
            (500.., _) if body.is_null() => Err(Attempt::Unsent(format!("HTTP status {status}"))),
            _ => {
                let reason = body["message"].as_str().unwrap_or("authentication failure");
                let (host, reason) = (host.to_string(), reason.trim().to_owned());
                Err(Attempt::Final(ApiError::Login { host, reason }))
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn with<Any>(
    builder: ureq::RequestBuilder<Any>,
    headers: &[(&'static str, String)],
) -> ureq::RequestBuilder<Any> {
    headers.iter().fold(builder, |builder, (name, value)| builder.header(*name, value))
}

/// Status and document of an answer; null where there is no document.
fn read(answer: Result<ureq::http::Response<ureq::Body>, ureq::Error>) -> Answered {
    let mut answer = answer.map_err(attempt)?;
    let status = answer.status().as_u16();
    let text = answer.body_mut().with_config().limit(LARGEST).read_to_string();
    let text = text.map_err(|error| Attempt::Broken(error.to_string()))?;
    Ok((status, serde_json::from_str(&text).unwrap_or(Value::Null)))
}

fn attempt(error: ureq::Error) -> Attempt {
    use ureq::Timeout;
    let why = error.to_string();
    let refused = |e: &std::io::Error| e.kind() == std::io::ErrorKind::ConnectionRefused;
    match &error {
        ureq::Error::Io(e) if refused(e) => Attempt::Unsent("connection refused".to_owned()),
        ureq::Error::Other(inner) if inner.is::<NotConnected>() => {
            Attempt::Unsent(inner.to_string())
        }
        ureq::Error::HostNotFound => Attempt::Unsent("no such host".to_owned()),
        ureq::Error::ConnectionFailed
        | ureq::Error::Timeout(Timeout::Connect | Timeout::Resolve) => Attempt::Unsent(why),
        _ => Attempt::Broken(why),
    }
}

fn ticket_in(host: &Endpoint, answer: &Value) -> Result<Ticket, Attempt> {
    let text = |name: &str| answer[name].as_str().map(Secret::new);
    match (text("ticket"), text("CSRFPreventionToken")) {
        (Some(ticket), Some(csrf)) => Ok(Ticket { ticket, csrf, since: Stopwatch::start() }),
        _ => Err(Attempt::Final(ApiError::Login {
            host: host.to_string(),
            reason: "the answer has no ticket".to_owned(),
        })),
    }
}

fn data_of(host: &Endpoint, request: &Request, status: u16, body: Value) -> Result<Value, Attempt> {
    if status == 401 {
        let reason = body["message"].as_str().unwrap_or("authentication failure").trim().to_owned();
        return Err(Attempt::Final(ApiError::Login { host: host.to_string(), reason }));
    }
    // pveproxy's own status: it could not connect to the node that the path names.
    if status == 595 {
        let node = request.node().unwrap_or("the cluster");
        return Err(Attempt::Unsent(format!("it cannot reach {node} (HTTP status 595)")));
    }
    // The connection to that node broke, or the host is going down itself.
    if matches!(status, 502..=504 | 596..=599) {
        return Err(Attempt::Broken(format!("HTTP status {status}")));
    }
    if status == 200 && body["success"] == 1 {
        return Ok(body["data"].clone());
    }
    let inner = body["status"].as_u64().and_then(|status| u16::try_from(status).ok());
    let mut reason = body["message"].as_str().unwrap_or("").trim().to_owned();
    for (name, what) in body["errors"].as_object().into_iter().flatten() {
        reason = format!("{reason} {name}: {}", what.as_str().unwrap_or_default().trim());
    }
    let status = inner.unwrap_or(status);
    let reason = if reason.is_empty() { format!("HTTP status {status}") } else { reason };
    Err(Attempt::Final(ApiError::refused(request, status, &reason)))
}
