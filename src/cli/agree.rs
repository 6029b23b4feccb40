//! One question that is answered with yes or no, before anything is changed. Not for lists to
//! choose from: those are `ask`.

use crate::report::Failure;
use dialoguer::{Confirm, theme::ColorfulTheme};
use nix::sys::termios::{LocalFlags, SetArg, Termios, tcgetattr, tcsetattr};
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
    let confirm =
        Confirm::with_theme(&theme).with_prompt(super::output::plain(question)).default(false);
    let _keys = Keys::without_signals();
    match confirm.interact() {
        Ok(true) => Ok(()),
        Ok(false) => Err(Declined::No),
        Err(dialoguer::Error::IO(error)) if error.kind() == io::ErrorKind::Interrupted => {
            Err(Declined::Interrupted)
        }
        Err(error) => Err(Declined::NoAnswer(error)),
    }
}

/// The terminal's settings from before the question, which come back with its end.
struct Keys(Option<Termios>);

impl Keys {
    /// From before the question is seen, ^C is an answer to it: as a signal in the moment before the
    /// keys are read, it would be taken for a wish to stop later, and the question would go on.
    fn without_signals() -> Self {
        let before = tcgetattr(io::stdin()).ok();
        if let Some(mut settings) = before.clone() {
            settings.local_flags.remove(LocalFlags::ISIG);
            // Where that fails, ^C stays what it was.
            let _ = tcsetattr(io::stdin(), SetArg::TCSANOW, &settings);
        }
        Self(before)
    }
}

impl Drop for Keys {
    fn drop(&mut self) {
        if let Some(before) = &self.0 {
            // A terminal that went away needs no settings.
            let _ = tcsetattr(io::stdin(), SetArg::TCSANOW, before);
        }
    }
}
