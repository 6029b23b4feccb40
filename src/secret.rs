//! Secrets: a value that no log and no error can show, and the places that one is read from. Not
//! for keeping them.

use std::fmt;
use std::io::BufRead as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// A password or token. It has no `Display`, and its `Debug` shows nothing.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps a text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text, for the one who needs it.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// Where a secret stands: `file:PATH`, `env:NAME`, or `-`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SecretSource {
    /// The first line of a file.
    File(PathBuf),
    /// A variable of the environment.
    Variable(String),
    /// The first line of standard input.
    Stdin,
}

/// Why there is no secret. The text that was given is not repeated: it may be the secret itself.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// It was given in clear.
    #[error(
        "a secret never stands in clear on a command line or in a shared file: write file:PATH, env:NAME or - (standard input)"
    )]
    InClear,
    /// Its file cannot be read.
    #[error("cannot read the secret in {}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Standard input cannot be read.
    #[error("cannot read the secret from standard input")]
    Stdin(#[source] std::io::Error),
    /// There is none where it should be.
    #[error("there is no secret in {0}")]
    Empty(String),
}

impl FromStr for SecretSource {
    type Err = SecretError;

    fn from_str(text: &str) -> Result<Self, SecretError> {
        match text.split_once(':') {
            Some(("file", path)) if !path.is_empty() => Ok(Self::File(path.into())),
            Some(("env", name)) if !name.is_empty() => Ok(Self::Variable(name.to_owned())),
            _ if text == "-" => Ok(Self::Stdin),
            _ => Err(SecretError::InClear),
        }
    }
}

impl fmt::Display for SecretSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "file:{}", path.display()),
            Self::Variable(name) => write!(f, "env:{name}"),
            Self::Stdin => f.write_str("standard input"),
        }
    }
}

impl SecretSource {
    /// Reads the secret: the first line, without its end.
    ///
    /// # Errors
    /// It cannot be read, or is empty.
    pub fn read(&self) -> Result<Secret, SecretError> {
        let text = match self {
            Self::File(path) => std::fs::read_to_string(path)
                .map_err(|source| SecretError::File { path: path.clone(), source })?,
            Self::Variable(name) => std::env::var(name).unwrap_or_default(),
            Self::Stdin => {
                let mut line = String::new();
                std::io::stdin().lock().read_line(&mut line).map_err(SecretError::Stdin)?;
                line
            }
        };
        let secret = text.lines().next().unwrap_or_default();
        if secret.is_empty() {
            return Err(SecretError::Empty(self.to_string()));
        }
        Ok(Secret::new(secret))
    }

    /// What is wrong with where it stands: a file that everybody on this machine can read, which keeps no
    /// secret. A file that cannot be looked at is for [`SecretSource::read`] to name.
    pub fn exposure(&self) -> Option<String> {
        let Self::File(path) = self else { return None };
        let mode = |path: &Path| Some(std::fs::metadata(path).ok()?.mode() & 0o7777);
        let whole = std::fs::canonicalize(path).ok()?;
        let own = mode(&whole).filter(|mode| mode & 0o004 != 0 && whole.is_file())?;
        let is_open =
            whole.ancestors().skip(1).all(|above| mode(above).is_some_and(|m| m & 1 != 0));
        is_open.then(|| {
            let path = path.display();
            format!(
                "{path} holds a secret and can be read by everybody (mode {own:04o}): chmod 600 it"
            )
        })
    }

    /// The variable that holds it, which no hook should inherit.
    pub fn variable(&self) -> Option<&str> {
        match self {
            Self::Variable(name) => Some(name),
            _ => None,
        }
    }
}

/// Whether an address has credentials in it: a user before the host, or a parameter that names one.
pub fn is_in_url(url: &str) -> bool {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let (place, parameters) = rest.split_once('?').unwrap_or((rest, ""));
    let names = ["u", "p", "user", "username", "password", "token", "access_token", "api_key"];
    let mut parameters = parameters.split(['&', ';', '#']);
    place.contains('@')
        || parameters.any(|pair| names.contains(&pair.split('=').next().unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_in_clear_is_refused_without_repeating_it() {
        for text in ["s3cret", "s3:cret", "file:", "env:", ""] {
            let error = text.parse::<SecretSource>().unwrap_err().to_string();
            assert!(!error.contains("s3") && error.contains("file:PATH"), "{error}");
        }
        assert_eq!(format!("{:?}", Secret::new("s3cret")), "***");
    }

    #[test]
    fn a_file_gives_its_first_line_and_an_empty_one_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        std::fs::write(&path, "s3cret\nmore\n").unwrap();
        let source: SecretSource = format!("file:{}", path.display()).parse().unwrap();
        assert_eq!(source.read().unwrap().reveal(), "s3cret");
        std::fs::write(&path, "\n").unwrap();
        assert!(source.read().unwrap_err().to_string().contains("token"));
        let missing: SecretSource = "env:PVE_FERRY_NO_SUCH_VARIABLE".parse().unwrap();
        assert!(matches!(missing.read(), Err(SecretError::Empty(_))));
    }

    #[test]
    fn a_file_that_everybody_can_read_is_said_to_keep_no_secret() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        std::fs::write(&path, "s3cret\n").unwrap();
        let mode = |path: &Path, mode| {
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
        };
        let exposure = || SecretSource::File(path.clone()).exposure();
        mode(dir.path(), 0o700);
        mode(&path, 0o644);
        assert_eq!(exposure(), None, "nobody else enters its directory");
        mode(dir.path(), 0o755);
        let said = exposure().unwrap();
        assert!(said.contains("token") && said.contains("0644") && !said.contains("s3c"), "{said}");
        mode(&path, 0o640);
        assert_eq!(exposure(), None);
        assert_eq!(SecretSource::Variable("HOME".into()).exposure(), None);
    }

    #[test]
    fn credentials_in_an_address_are_seen() {
        for url in [
            "http://user:sekrit@host:8086",
            "https://token@host/api",
            "user:p/w@host",
            "http://host:8086/write?db=x&p=sekrit",
            "http://host?token=x",
        ] {
            assert!(is_in_url(url), "{url}");
        }
        for url in ["http://host:8086", "https://host/api?db=u", "host:8086", "http://[::1]:1/"] {
            assert!(!is_in_url(url), "{url}");
        }
    }
}
