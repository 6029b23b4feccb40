//! Mail: one message with a text and an HTML part, to an SMTP server or to the local sendmail.
//! What it says is rendered in `text.rs` and `html.rs`.

use super::facts::Occasion;
use super::{NotifyError, html, on_a_thread, text};
use crate::report::Report;
use crate::secret::Secret;
use crate::transport::{Command, Host};
use lettre::message::header::{ContentType, Header, HeaderName, HeaderValue};
use lettre::message::{Mailbox, Message, MultiPart, SinglePart};
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Certificate, CertificateStore, Tls, TlsParameters};
use lettre::transport::smtp::extension::ClientId;
use lettre::{SmtpTransport, Transport as _};
use std::time::{Duration, SystemTime};

/// Who gets mail, from whom, and by which way.
#[derive(Debug, Clone, PartialEq)]
pub struct Target {
    /// The addresses.
    pub to: Vec<String>,
    /// The sender.
    pub from: String,
    /// The way.
    pub way: Way,
}

/// How mail leaves this machine.
#[derive(Debug, Clone, PartialEq)]
pub enum Way {
    /// The local sendmail command takes it.
    Sendmail,
    /// An SMTP server takes it.
    Smtp(Smtp),
}

/// An SMTP server.
#[derive(Debug, Clone, PartialEq)]
pub struct Smtp {
    /// Its name, which its certificate must bear.
    pub host: String,
    /// Its port; the usual one of the mode when none.
    pub port: Option<u16>,
    /// How the connection is protected.
    pub protection: Protection,
    /// User name and password, when it wants them.
    pub login: Option<(String, Secret)>,
    /// A certificate authority that is trusted besides the system's, in PEM.
    pub authority: Option<Vec<u8>>,
}

/// How a connection to an SMTP server is protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protection {
    /// TLS from the first byte (port 465).
    Tls,
    /// STARTTLS, without which nothing is sent (port 587).
    StartTls,
    /// None at all (port 25).
    None,
}

impl Protection {
    fn usual_port(self) -> u16 {
        match self {
            Self::Tls => 465,
            Self::StartTls => 587,
            Self::None => 25,
        }
    }
}

/// One answer of a server may take this long.
const PATIENCE: Duration = Duration::from_secs(20);

impl Target {
    /// Sends the report.
    ///
    /// # Errors
    /// An address is none, or nobody took the mail.
    pub async fn tell(&self, occasion: &Occasion, report: &Report) -> Result<(), NotifyError> {
        let message = self.message(occasion, report)?;
        match &self.way {
            Way::Sendmail => self.by_sendmail(&message).await,
            Way::Smtp(smtp) => {
                let (smtp, helo) = (smtp.clone(), occasion.host.clone());
                on_a_thread(move || smtp.send(&message, &helo)).await
            }
        }
    }

    /// The message as it is sent.
    ///
    /// # Errors
    /// An address is none.
    pub fn message(&self, occasion: &Occasion, report: &Report) -> Result<Message, NotifyError> {
        let seconds = u64::try_from(report.finished.unix()).unwrap_or(0);
        let host = if occasion.host.is_empty() { "localhost" } else { &occasion.host };
        let random = crate::entropy::random_u64().unwrap_or_default();
        let id = format!("<pve-ferry.{seconds}.{random:016x}@{host}>");
        let mut builder = Message::builder()
            .from(mailbox(&self.from, host)?)
            .subject(occasion.subject(report).replace('\n', " "))
            .date(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds))
            .message_id(Some(id))
            .header(AutoSubmitted);
        for address in &self.to {
            builder = builder.to(mailbox(address, host)?);
        }
        let part = |kind, body| SinglePart::builder().header(kind).body(body);
        let parts = MultiPart::alternative()
            .singlepart(part(ContentType::TEXT_PLAIN, text::body(occasion, report)))
            .singlepart(part(ContentType::TEXT_HTML, html::document(occasion, report)));
        builder.multipart(parts).map_err(|e| wrong(e.to_string()))
    }

    async fn by_sendmail(&self, message: &Message) -> Result<(), NotifyError> {
        let envelope = message.envelope();
        let mut command = Command::writes("sendmail").arg("-i");
        if let Some(from) = envelope.from() {
            command = command.args(["-f", from.as_ref()]);
        }
        let to = envelope.to().iter().map(ToString::to_string);
        let command = command.arg("--").args(to).input(without_cr(&message.formatted()));
        let command = command.deadline(super::DEADLINE);
        let sent = Host::local().run(&command).await;
        sent.map(drop).map_err(|source| NotifyError::Command { what: "sendmail", source })
    }
}

/// An address as a message needs it. A name alone is somebody on this machine, `host`, as the local
/// sendmail has it.
///
/// # Errors
/// It is no address.
pub fn mailbox(address: &str, host: &str) -> Result<Mailbox, NotifyError> {
    let whole = match address.contains('@') {
        true => address.to_owned(),
        false => format!("{address}@{host}"),
    };
    whole.parse().map_err(|e| wrong(format!("{address:?} is no address ({e})")))
}

impl Smtp {
    fn send(&self, message: &Message, helo: &str) -> Result<(), NotifyError> {
        let port = self.port.unwrap_or(self.protection.usual_port());
        let failed = |source| NotifyError::Smtp { server: format!("{}:{port}", self.host), source };
        let tls = match self.protection {
            Protection::None => Tls::None,
            Protection::StartTls => Tls::Required(self.parameters().map_err(failed)?),
            Protection::Tls => Tls::Wrapper(self.parameters().map_err(failed)?),
        };
        let mut transport = SmtpTransport::builder_dangerous(&self.host)
            .port(port)
            .timeout(Some(PATIENCE))
            .tls(tls);
        if !helo.is_empty() {
            transport = transport.hello_name(ClientId::Domain(helo.to_owned()));
        }
        if let Some((user, password)) = &self.login {
            let credentials = Credentials::new(user.clone(), password.reveal().to_owned());
            transport = transport.credentials(credentials);
        }
        transport.build().send(message).map(drop).map_err(failed)
    }

    fn parameters(&self) -> Result<TlsParameters, lettre::transport::smtp::Error> {
        let mut parameters = TlsParameters::builder(self.host.clone());
        if let Some(pem) = &self.authority {
            parameters = parameters
                .certificate_store(CertificateStore::None)
                .add_root_certificate(Certificate::from_pem(pem)?);
        }
        parameters.build()
    }
}

fn wrong(why: String) -> NotifyError {
    NotifyError::Message(why)
}

/// sendmail reads lines as Unix writes them.
fn without_cr(message: &[u8]) -> Vec<u8> {
    String::from_utf8_lossy(message).replace("\r\n", "\n").into_bytes()
}

/// Tells other programs not to answer (RFC 3834).
#[derive(Debug, Clone, Copy)]
struct AutoSubmitted;

impl Header for AutoSubmitted {
    fn name() -> HeaderName {
        HeaderName::new_from_ascii_str("Auto-Submitted")
    }

    fn parse(_: &str) -> Result<Self, Box<dyn std::error::Error + Send + Sync>> {
        Ok(Self)
    }

    fn display(&self) -> HeaderValue {
        HeaderValue::new(Self::name(), "auto-generated".to_owned())
    }
}
