//! The sections of `notify.cfg` and their options. What is done with them is `told`'s to know.

use super::Property;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::str::FromStr;

/// Whose runs one wants to hear of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum When {
    /// All.
    #[default]
    Always,
    /// Those in which something was not done.
    Failure,
    /// Those that ended otherwise than the one before.
    Change,
}

impl FromStr for When {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "always" => Ok(Self::Always),
            "failure" => Ok(Self::Failure),
            "change" => Ok(Self::Change),
            _ => Err(format!("{text:?} is none of always, failure, change")),
        }
    }
}

/// How the way to the mail server is protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum SmtpMode {
    /// TLS from the first byte; port 465 unless another one is given.
    Tls,
    /// STARTTLS, without which nothing is sent; port 587.
    #[default]
    Starttls,
    /// No TLS; port 25. No password is sent this way.
    Insecure,
}

/// The server that takes all mail. Without such a section the node's own `sendmail` does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct SmtpOptions {
    /// The server's name or address.
    pub host: String,
    /// Its port; without it the usual one of the mode.
    #[schemars(range(min = 1, max = 65535))]
    pub port: Option<u16>,
    /// How the way to it is protected.
    #[serde(default)]
    pub mode: SmtpMode,
    /// Who logs in; with a password only.
    pub username: Option<String>,
    /// Where the password stands.
    #[schemars(extend("x-secret" = true))]
    pub password: Option<String>,
    /// The sender's address, root@NODE without it.
    pub from: Option<String>,
    /// A file with the certificate that the server's is checked against, instead of the system's.
    pub ca_file: Option<String>,
    /// A line for people.
    pub comment: Option<String>,
}

/// Who gets mail.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MailOptions {
    /// Addresses, between commas or semicolons.
    pub to: String,
    /// Which runs they hear of.
    #[serde(default)]
    pub when: When,
    /// The sender's address, instead of that of the `smtp` section.
    pub from: Option<String>,
    /// A line for people.
    pub comment: Option<String>,
}

/// PVE's own notifications, which PVE sends on to the targets that are configured there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PveOptions {
    /// Which runs are told of.
    #[serde(default)]
    pub when: When,
    /// A line for people.
    pub comment: Option<String>,
}

/// The system's log, as `pve-ferry`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SyslogOptions {
    /// Which runs are told of.
    #[serde(default)]
    pub when: When,
    /// A line for people.
    pub comment: Option<String>,
}

/// An InfluxDB that gets metrics.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct InfluxOptions {
    /// Its address, as https://influx.example:8086.
    pub url: String,
    /// The organisation; without one the interface of InfluxDB 1.x is used.
    pub org: Option<String>,
    /// The bucket; the database of InfluxDB 1.x.
    pub bucket: String,
    /// Where the token stands (USER:PASSWORD for InfluxDB 1.x).
    #[schemars(extend("x-secret" = true))]
    pub token: Option<String>,
    /// Whether its TLS certificate is checked.
    #[serde(default = "yes")]
    pub verify_certificate: bool,
    /// A line for people.
    pub comment: Option<String>,
}

/// A metrics file for Prometheus' node exporter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PrometheusOptions {
    /// The directory of its textfile collector, as /var/lib/prometheus/node-exporter.
    pub directory: String,
    /// A line for people.
    pub comment: Option<String>,
}

fn yes() -> bool {
    true
}

/// One kind of section.
pub struct SectionKind {
    /// The word in front of the colon.
    pub kind: &'static str,
    /// What a section of this kind is for.
    pub about: String,
    /// Its options.
    pub options: Vec<Property>,
    /// The same as a JSON schema.
    pub schema: serde_json::Value,
}

/// All kinds of sections, in the order of the reference.
pub fn kinds() -> Vec<SectionKind> {
    vec![
        kind::<SmtpOptions>("smtp"),
        kind::<MailOptions>("mail"),
        kind::<PveOptions>("pve"),
        kind::<SyslogOptions>("syslog"),
        kind::<InfluxOptions>("influx"),
        kind::<PrometheusOptions>("prometheus"),
    ]
}

fn kind<T: JsonSchema>(kind: &'static str) -> SectionKind {
    let schema = super::of_read::<T>();
    let about = super::about(&schema);
    SectionKind { kind, about, options: super::properties(&schema), schema }
}
