//! How a command reaches a cluster: options about hosts, credentials and certificates, made into
//! the one client of the API. Sends nothing.

use super::error::CliError;
use super::told::Certificates;
use super::{context, output};
use crate::context::Hosts;
use crate::pve::api::{
    Api, Credentials, Endpoint, Fingerprint, Https, HttpsSettings, Pvesh, RENEWED_AFTER, Trust,
    password_in,
};
use crate::secret::{Secret, SecretSource, is_in_url};
use crate::transport::Host;
use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;

/// Where the cluster is and who we are there.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Cluster (without --host: the one that this node belongs to)")]
pub struct Connection {
    /// Hosts of the cluster, the next one is taken when one fails; port 8006 unless given.
    #[arg(long, global = true, value_name = "H[:P],..")]
    host: Option<String>,
    /// API token USER@REALM!ID=SECRET, read from file:PATH, env:NAME or - (standard input).
    #[arg(long, global = true, value_name = "SOURCE")]
    api_token: Option<String>,
    /// User, when there is no token; realm pam unless given.
    #[arg(long, global = true, value_name = "USER@REALM")]
    username: Option<String>,
    /// Its password, read from file:PATH, env:NAME or -; files of cv4pve-autosnap (v2:) are read.
    #[arg(long, global = true, value_name = "SOURCE")]
    password: Option<String>,
    /// One-time password of a user with a second factor.
    #[arg(long, global = true, value_name = "CODE")]
    otp: Option<String>,
    /// Trust exactly the certificate with this SHA-256 fingerprint.
    #[arg(long, global = true, value_name = "SHA256", conflicts_with_all = ["ca_file", "no_verify_ssl"])]
    fingerprint: Option<String>,
    /// Trust certificates signed by those in this file [default: those the system trusts].
    #[arg(long, global = true, value_name = "FILE", conflicts_with = "no_verify_ssl")]
    ca_file: Option<PathBuf>,
    /// Trust anybody: whoever sits between can read the credentials.
    #[arg(long, global = true)]
    no_verify_ssl: bool,
    /// Accepted from cv4pve-autosnap; certificates are verified anyway.
    #[arg(long, global = true, hide = true)]
    validate_certificate: bool,
}

const NO_HOST: &str = "credentials need a --host";
const NO_LOGIN: &str = "--host needs --api-token, or --username and --password";

/// The options that take a secret.
const SECRETS: [&str; 2] = ["--api-token", "--password"];

/// Refuses a secret that was typed: everybody on the machine reads command lines. Inside an @FILE
/// it may stand. Looks at the words before files take the place of their names.
///
/// # Errors
/// There is one; it is not repeated.
pub fn refuse_typed_secrets(words: &[OsString]) -> Result<(), CliError> {
    let words: Vec<_> = words.iter().map(|word| word.to_string_lossy()).collect();
    for (at, word) in words.iter().enumerate() {
        let (name, value) = match word.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (word.as_ref(), words.get(at + 1).map(AsRef::as_ref)),
        };
        let typed = value.filter(|value| !value.starts_with('@') && !value.starts_with("--"));
        if SECRETS.contains(&name) && typed.is_some_and(|v| v.parse::<SecretSource>().is_err()) {
            let text = format!(
                "{name} takes file:PATH, env:NAME or - (standard input), or stands inside an @FILE: a secret on the command line can be read by everybody on this machine"
            );
            return Err(CliError::usage(text));
        }
        if name == INFLUXURL && typed.is_some_and(is_in_url) {
            return Err(secret_in_url());
        }
    }
    Ok(())
}

/// The option whose value is an address.
const INFLUXURL: &str = "--influxurl";

/// The error about an address with credentials in it, which it does not repeat.
pub fn secret_in_url() -> CliError {
    CliError::usage(format!(
        "{INFLUXURL} has a user, password or token in it, which everybody on this machine can read: give it by --influxtoken file:PATH (USER:PASSWORD for InfluxDB 1.x)"
    ))
}

impl Connection {
    /// Whether it goes over HTTPS.
    pub fn is_remote(&self) -> bool {
        self.host.is_some()
    }

    /// Whether the user wants certificates to be checked, whoever shows them.
    pub fn certificates(&self) -> Certificates {
        self.no_verify_ssl.into()
    }

    /// Whether the words make sense. Nothing is read and nobody is asked.
    ///
    /// # Errors
    /// They do not.
    pub fn check(&self) -> Result<(), CliError> {
        let has_login = self.api_token.is_some() || self.username.is_some();
        match &self.host {
            None if has_login => return Err(CliError::usage(NO_HOST)),
            None => return Ok(()),
            Some(host) => Endpoint::list(host).map(drop).map_err(usage)?,
        }
        if self.api_token.is_none() && (self.username.is_none() || self.password.is_none()) {
            return Err(CliError::usage(NO_LOGIN));
        }
        let pinned = self.fingerprint.as_deref().map(str::parse::<Fingerprint>);
        pinned.transpose().map(drop).map_err(usage)
    }

    /// The variables that hold secrets, which no hook inherits.
    pub fn secret_variables(&self) -> Vec<String> {
        let given = [&self.api_token, &self.password, &self.otp].into_iter().flatten();
        let sources = given.filter_map(|text| text.parse::<SecretSource>().ok());
        sources.filter_map(|source| source.variable().map(str::to_owned)).collect()
    }

    /// The client.
    ///
    /// # Errors
    /// Words are missing or make no sense, or this machine is no node and no host is given.
    pub fn api(&self) -> Result<Api, CliError> {
        match &self.host {
            Some(host) => self.https(host),
            None if self.api_token.is_some() || self.username.is_some() => {
                Err(CliError::usage(NO_HOST))
            }
            None => on_node(),
        }
    }

    fn https(&self, host: &str) -> Result<Api, CliError> {
        let hosts = Endpoint::list(host).map_err(usage)?;
        let settings = HttpsSettings {
            hosts,
            credentials: self.credentials()?,
            trust: self.trust()?,
            renewed_after: RENEWED_AFTER,
        };
        Ok(Api::over_https(
            Https::new(settings).map_err(|e| CliError::from(anyhow::Error::from(e)))?,
        ))
    }

    fn credentials(&self) -> Result<Credentials, CliError> {
        if let Some(token) = &self.api_token {
            return Credentials::token(secret(token)?).map_err(usage);
        }
        let (Some(username), Some(password)) = (&self.username, &self.password) else {
            return Err(CliError::usage(NO_LOGIN));
        };
        let password =
            password_in(secret(password)?.reveal()).map_err(|e| CliError::usage(e.to_string()))?;
        let otp = self.otp.as_deref().map(secret).transpose()?;
        Ok(Credentials::password(username, Secret::new(password), otp))
    }

    fn trust(&self) -> Result<Trust, CliError> {
        if self.no_verify_ssl {
            output::notice(
                "warning: --no-verify-ssl: whoever sits between can read the credentials",
            );
            return Ok(Trust::Anything);
        }
        match (&self.fingerprint, &self.ca_file) {
            (Some(text), _) => Ok(Trust::Pinned(text.parse().map_err(usage)?)),
            (None, Some(path)) => Ok(Trust::CaFile(path.clone())),
            (None, None) => Ok(Trust::System),
        }
    }
}

/// From its source; a literal can only come from an @FILE here.
fn secret(text: &str) -> Result<Secret, CliError> {
    match text.parse::<SecretSource>() {
        Ok(source) => {
            let exposed = source.exposure();
            exposed.iter().for_each(|what| output::warning(&format!("warning: {what}")));
            source.read().map_err(|e| CliError::usage(format!("{:#}", anyhow::Error::from(e))))
        }
        Err(_) => Ok(Secret::new(text)),
    }
}

fn on_node() -> Result<Api, CliError> {
    let cluster = context::cluster();
    if !cluster.root().join("nodes").is_dir() {
        return Err(CliError::usage("this machine is no PVE node: give --host and --api-token"));
    }
    let this_node = cluster.this_node().map_err(anyhow::Error::from)?;
    let hosts: Hosts = context::hosts(&cluster, this_node)?;
    let host_of = move |node: Option<&str>| node.map_or_else(Host::local, |node| hosts.host(node));
    Ok(Api::on_nodes(Pvesh::new(Arc::new(host_of))))
}

fn usage(error: crate::pve::api::ApiError) -> CliError {
    CliError::usage(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn typed_secrets_are_refused_without_repeating_them() {
        let refused = |line: &str| {
            let words: Vec<OsString> = line.split(' ').map(Into::into).collect();
            refuse_typed_secrets(&words).map_err(|e| e.to_string())
        };
        for line in
            ["snap --api-token a@pve!x=s3cret", "snap --password=s3cret", "--password s3cret"]
        {
            let error = refused(line).unwrap_err();
            assert!(error.contains("file:PATH") && !error.contains("s3cret"), "{error}");
        }
        let url = refused("backup --influxurl=http://a:s3cret@host").unwrap_err();
        assert!(url.contains("--influxtoken") && !url.contains("s3cret"), "{url}");
        for line in [
            "--influxurl http://host:8086",
            "--password file:/x",
            "--api-token=env:T",
            "--password -",
            "--password @f",
            "--password",
        ] {
            assert_eq!(refused(line), Ok(()), "{line}");
        }
    }
}
