//! Questions on the terminal before anything is changed: how they end, and one that is answered with yes
//! or no. Not for what a restore asks and lists to choose from: those are `ask`.

use super::output;
use crate::context::Context;
use crate::operation::Operation;
use crate::plan::Plan;
use crate::report::Failure;
use crate::run::{self, Confirm, Interrupted, Performed};
use dialoguer::console::Term;
use dialoguer::theme::ColorfulTheme;
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::termios::{LocalFlags, SetArg, Termios, tcgetattr, tcsetattr};
use std::io;
use std::sync::Arc;

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
    /// There is nobody to ask.
    #[error("it asks on a terminal; give --yes otherwise (--dry-run shows what would go)")]
    NoTerminal,
}

impl Declined {
    /// The exit code.
    pub fn code(&self) -> u8 {
        match self {
            Self::No | Self::NoAnswer(_) | Self::NoTerminal => Failure::Usage.code(),
            Self::Interrupted => Failure::Interrupted.code(),
        }
    }
}

/// Runs an operation once a person has said yes to its plans. Who stops it before is taken to say no.
///
/// # Errors
/// As [`run::confirmed`].
pub async fn confirmed<O: Operation>(
    ctx: Arc<Context>,
    operation: O,
    confirm: Confirm,
) -> anyhow::Result<Performed> {
    let done = run::confirmed(ctx, operation, confirm).await;
    done.map_err(|error| match error.is::<Interrupted>() {
        true => Declined::Interrupted.into(),
        false => error,
    })
}

/// Shows the plans and asks one question about all of them.
pub fn about(question: impl FnOnce(&[Plan]) -> String + Send + 'static) -> Confirm {
    Box::new(move |plans| {
        if !output::is_interactive() {
            return Err(Declined::NoTerminal.into());
        }
        plans.iter().for_each(|plan| output::notice(plan.to_string().trim_end()));
        Ok(agree(&question(plans))?)
    })
}

/// Asks a question on the terminal; what is not a clear yes is a no.
///
/// # Errors
/// The user does not agree.
pub fn agree(question: &str) -> Result<(), Declined> {
    let theme = ColorfulTheme::default();
    let confirm =
        dialoguer::Confirm::with_theme(&theme).with_prompt(output::plain(question)).default(false);
    match answered(|| confirm.interact())? {
        true => Ok(()),
        false => Err(Declined::No),
    }
}

/// Asks, and leaves the terminal as it was, however the question ends.
///
/// # Errors
/// ^C, or the terminal went away.
pub fn answered<T>(ask: impl FnOnce() -> dialoguer::Result<T>) -> Result<T, Declined> {
    let (_keys, _signal) = (Keys::without_signals(), HeldSignal::interrupt());
    ask().map_err(|error| {
        // Lists hide it, and show it again after an answer only. Without a terminal there is none.
        let _ = Term::stderr().show_cursor();
        match error {
            dialoguer::Error::IO(error) if error.kind() == io::ErrorKind::Interrupted => {
                Declined::Interrupted
            }
            error => Declined::NoAnswer(error),
        }
    })
}

/// SIGINT as long as a question stands: whoever reads the keys sends it to this thread for a ^C, which
/// would end the program before the terminal is in order. The answer says the same.
struct HeldSignal(Option<(SigSet, SignalFd)>);

impl HeldSignal {
    fn interrupt() -> Self {
        let set = SigSet::from(Signal::SIGINT);
        let pending = SignalFd::with_flags(&set, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC);
        let held = pending.and_then(|pending| set.thread_block().map(|()| (set, pending)));
        // Where that fails, ^C ends the program as any other signal does.
        Self(held.ok())
    }
}

impl Drop for HeldSignal {
    fn drop(&mut self) {
        let Some((set, pending)) = &self.0 else { return };
        // Taken, so that it does not come as soon as it may.
        while let Ok(Some(_)) = pending.read_signal() {}
        let _ = set.thread_unblock();
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
