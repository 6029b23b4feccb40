//! Who we are and where the cluster is: endpoints, token or password, the ticket. Opens no
//! connection and reads no file.

use super::error::ApiError;
use crate::clock::Stopwatch;
use crate::secret::Secret;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// The port of pveproxy.
const PORT: u16 = 8006;

/// A ticket lives two hours (`PVE::AccessControl`); it is renewed at half of that.
pub const RENEWED_AFTER: Duration = Duration::from_secs(3600);

/// One host of the cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// Name or address.
    pub host: String,
    /// Its port.
    pub port: u16,
}

impl Endpoint {
    /// Reads `HOST[:PORT],...`; an IPv6 address with a port stands in brackets.
    ///
    /// # Errors
    /// There is no host in it, or a port is none.
    pub fn list(text: &str) -> Result<Vec<Self>, ApiError> {
        let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
        let hosts = items.map(str::parse).collect::<Result<Vec<Self>, ApiError>>()?;
        match hosts.is_empty() {
            true => Err(ApiError::Form(text.to_owned(), "a list of hosts")),
            false => Ok(hosts),
        }
    }
}

impl FromStr for Endpoint {
    type Err = ApiError;

    fn from_str(text: &str) -> Result<Self, ApiError> {
        let wrong = || ApiError::Form(text.to_owned(), "HOST[:PORT]");
        let (host, port) = match text.strip_prefix('[') {
            Some(rest) => {
                let (host, port) = rest.split_once(']').ok_or_else(wrong)?;
                (host, port.strip_prefix(':').or(port.is_empty().then_some("")).ok_or_else(wrong)?)
            }
            // More than one colon and no brackets: an IPv6 address alone.
            None if text.matches(':').count() > 1 => (text, ""),
            None => text.split_once(':').unwrap_or((text, "")),
        };
        let named = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_' | b':');
        if host.is_empty() || !host.bytes().all(named) {
            return Err(wrong());
        }
        let given = text.ends_with(':') || !port.is_empty();
        let port = if given { port.parse().map_err(|_| wrong())? } else { PORT };
        Ok(Self { host: host.to_owned(), port })
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "[{}]:{}", self.host, self.port),
            false => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

/// How we are let in.
#[derive(Debug, Clone)]
pub enum Credentials {
    /// `USER@REALM!ID=SECRET`.
    Token(Secret),
    /// A user with a password.
    Password {
        /// `USER@REALM`; realm `pam` when none is given.
        username: String,
        /// The password.
        password: Secret,
        /// A one-time password, for users with a second factor.
        otp: Option<Secret>,
    },
}

impl Credentials {
    /// A token.
    ///
    /// # Errors
    /// It has not the form of one; it is not repeated.
    pub fn token(secret: Secret) -> Result<Self, ApiError> {
        let form = "USER@REALM!ID=SECRET";
        let fits = secret.reveal().split_once('!').is_some_and(|(user, rest)| {
            user.contains('@')
                && rest.split_once('=').is_some_and(|(id, key)| !id.is_empty() && !key.is_empty())
        });
        let clean = secret.reveal().bytes().all(|b| b.is_ascii_graphic());
        match fits && clean {
            true => Ok(Self::Token(secret)),
            false => Err(ApiError::Form("the API token".to_owned(), form)),
        }
    }

    /// A user with a password.
    pub fn password(username: &str, password: Secret, otp: Option<Secret>) -> Self {
        let realm = if username.contains('@') { "" } else { "@pam" };
        Self::Password { username: format!("{username}{realm}"), password, otp }
    }
}

/// What a login gave.
#[derive(Debug, Clone)]
pub(super) struct Ticket {
    /// The cookie's value.
    pub ticket: Secret,
    /// What must stand in requests that change something.
    pub csrf: Secret,
    /// Since when.
    pub since: Stopwatch,
}

/// What is sent to log in: username, password, and the challenge where there is one.
pub(super) struct LoginForm<'a> {
    pub username: &'a str,
    pub password: String,
    pub challenge: Option<&'a str>,
}

impl LoginForm<'_> {
    pub fn fields(&self) -> Vec<(&'static str, &str)> {
        let mut fields = vec![("username", self.username), ("password", self.password.as_str())];
        fields.extend(self.challenge.map(|challenge| ("tfa-challenge", challenge)));
        fields
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_have_pves_port_unless_they_say_otherwise() {
        let hosts = Endpoint::list("pve1, 10.0.0.2:443,,fd00::1,[fd00::2]:8007").unwrap();
        let texts: Vec<String> = hosts.iter().map(ToString::to_string).collect();
        assert_eq!(texts, ["pve1:8006", "10.0.0.2:443", "[fd00::1]:8006", "[fd00::2]:8007"]);
        for text in ["", ",", "pve1:x", "pve1:", "a b", "[fd00::1", "pve1:99999", "h/x"] {
            assert!(Endpoint::list(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_token_has_four_parts_and_a_wrong_one_is_not_repeated() {
        assert!(Credentials::token(Secret::new("a@pve!x=1-2")).is_ok());
        for text in ["a@pve!x", "a!x=1", "a@pve=x", "a@pve!x=s3 t", ""] {
            let error = Credentials::token(Secret::new(text)).unwrap_err().to_string();
            assert!(error.contains("USER@REALM!ID=SECRET") && !error.contains("s3"), "{error}");
        }
        let Credentials::Password { username, .. } =
            Credentials::password("root", Secret::new("x"), None)
        else {
            panic!("a password");
        };
        assert_eq!(username, "root@pam");
    }
}
