//! One question that is answered with yes or no, before anything is changed. Not for lists to
//! choose from: those are `ask`.

use crate::report::Failure;
use dialoguer::{Confirm, theme::ColorfulTheme};
use std::io;

/// The user does not agree. Nothing was changed, and it is no failure that anybody else should
/// hear of.
#[derive(Debug, thiserror::Error)]
pub enum Declined {
    /// The answer was no.
    #[error("nothing was changed")]
    No,
    /// The answer was ^C.
    #[error("interrupted; nothing was changed")]
    Interrupted,
    /// The terminal went away.
    #[error("no answer; nothing was changed")]
    NoAnswer(#[source] dialoguer::Error),
}

impl Declined {
    /// The exit code.
    pub fn code(&self) -> u8 {
        match self {
            Self::No | Self::NoAnswer(_) => Failure::Usage.code(),
            Self::Interrupted => Failure::Interrupted.code(),
        }
    }
}

/// Asks a question on the terminal; what is not a clear yes is a no.
///
/// # Errors
/// The user does not agree.
pub fn agree(question: &str) -> Result<(), Declined> {
    let theme = ColorfulTheme::default();
    let confirm = Confirm::with_theme(&theme).with_prompt(question).default(false);
    match confirm.interact() {
        Ok(true) => Ok(()),
        Ok(false) => Err(Declined::No),
        Err(dialoguer::Error::IO(error)) if error.kind() == io::ErrorKind::Interrupted => {
            Err(Declined::Interrupted)
        }
        Err(error) => Err(Declined::NoAnswer(error)),
    }
}
