//! Secrets: a value that no log and no error can show, and the places that one is read from. Not
//! for keeping them.

use std::fmt;
use std::io::BufRead as _;
use std::path::PathBuf;
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

    /// The variable that holds it, which no hook should inherit.
    pub fn variable(&self) -> Option<&str> {
        match self {
            Self::Variable(name) => Some(name),
            _ => None,
        }
    }
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
}
