//! What among the options of a job only holds where it was typed. Secrets move into the private
//! directory, and the job names the file: jobs.cfg is read by every user of the web interface, and
//! argv by everybody. Paths become whole ones: cron starts in another directory. Nothing is read
//! from a secret's own file.

use super::super::error::CliError;
use super::our_files;
use crate::secret::{SecretError, SecretSource};

/// The options whose value is a secret or the place of one.
pub(super) const KEYS: [&str; 3] = ["api-token", "password", "influxtoken"];

/// The options whose value is a path.
pub(super) const PATHS: [&str; 5] = ["path", "from", "to", "script", "ca-file"];

/// Secrets that are not yet where they will be.
#[derive(Default)]
pub struct Pending(Vec<(String, String)>);

impl Pending {
    /// The option for a secret, which will be kept in a file of ours.
    ///
    /// # Errors
    /// The files that are there cannot be read.
    pub fn reference(&mut self, key: &str, secret: &str) -> Result<String, CliError> {
        let name = our_files().secret_name(key, secret).map_err(anyhow::Error::from)?;
        let path = our_files().secret_path(&name);
        self.0.push((name, secret.to_owned()));
        Ok(format!("file:{}", path.display()))
    }

    /// Puts the secrets where the options say they are.
    ///
    /// # Errors
    /// A file cannot be written.
    pub fn keep(&self) -> Result<(), CliError> {
        for (name, secret) in &self.0 {
            our_files().keep_secret(name, secret).map_err(anyhow::Error::from)?;
        }
        Ok(())
    }
}

/// Replaces secrets by the names of their files, and paths by whole ones. Cron has neither the
/// variables of who made the job nor a standard input, and starts in another directory.
///
/// # Errors
/// A secret cannot be read or was typed, or there is no current directory.
pub fn taken_out(options: &mut [(String, String)]) -> Result<Pending, CliError> {
    let mut pending = Pending::default();
    for (key, value) in options.iter_mut() {
        if PATHS.contains(&key.as_str()) {
            *value = whole(value)?;
        }
    }
    for (key, value) in options.iter_mut().filter(|(key, _)| KEYS.contains(&key.as_str())) {
        *value = match value.parse::<SecretSource>() {
            Ok(SecretSource::File(path)) => format!("file:{}", whole(&path.to_string_lossy())?),
            Ok(source) => {
                let secret = source.read();
                let secret =
                    secret.map_err(|e| CliError::usage(format!("{:#}", anyhow::Error::from(e))))?;
                pending.reference(key, secret.reveal())?
            }
            // Its parser lets it pass, so as not to repeat it in an error.
            Err(_) if key == "influxtoken" => {
                return Err(CliError::usage(format!("--{key}: {}", SecretError::InClear)));
            }
            // In clear it can only come from an @FILE.
            Err(_) => pending.reference(key, value)?,
        };
    }
    Ok(pending)
}

/// A path that means the same in every directory.
///
/// # Errors
/// It is relative, and there is no current directory; or it is empty.
pub(super) fn whole(path: &str) -> Result<String, CliError> {
    let whole = std::path::absolute(path)
        .map_err(|error| CliError::usage(format!("the path {path:?} cannot be used: {error}")))?;
    Ok(whole.to_string_lossy().into_owned())
}
