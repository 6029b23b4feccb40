//! Secrets among the options of a job: they move into the private directory, and the job names the
//! file. jobs.cfg is read by every user of the web interface, and argv by everybody. Nothing is
//! read from a secret's own file.

use super::super::error::CliError;
use super::our_files;
use crate::secret::SecretSource;

/// The options whose value is a secret or the place of one.
const KEYS: [&str; 2] = ["api-token", "password"];

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

/// Replaces secrets by the names of their files. Cron has neither the variables of who made the job
/// nor a standard input, and starts in another directory.
///
/// # Errors
/// A secret cannot be read.
pub fn taken_out(options: &mut [(String, String)]) -> Result<Pending, CliError> {
    let mut pending = Pending::default();
    for (key, value) in options.iter_mut().filter(|(key, _)| KEYS.contains(&key.as_str())) {
        *value = match value.parse::<SecretSource>() {
            Ok(SecretSource::File(path)) => {
                let path = std::path::absolute(path).map_err(anyhow::Error::from)?;
                format!("file:{}", path.display())
            }
            Ok(source) => {
                let secret = source.read();
                let secret =
                    secret.map_err(|e| CliError::usage(format!("{:#}", anyhow::Error::from(e))))?;
                pending.reference(key, secret.reveal())?
            }
            // In clear it can only come from an @FILE.
            Err(_) => pending.reference(key, value)?,
        };
    }
    Ok(pending)
}
