//! A running program that is talked with, line by line. What the lines mean is its partner's to know.

use super::{TransportError, local};
use tokio::io::AsyncWriteExt as _;
use tokio::process::ChildStdin;
use tokio::sync::mpsc;

/// A program that hears lines and says lines while it runs. Dropped, its input ends, and the process
/// that was started for it here dies; a unit or session of its own, which that process only began,
/// goes on.
#[derive(Debug)]
pub struct Dialogue {
    to: To,
    from: mpsc::Receiver<String>,
    exit: Option<local::Child>,
}

/// Who hears what is said.
#[derive(Debug)]
enum To {
    Child(ChildStdin),
    Scripted(mpsc::UnboundedSender<String>),
}

/// The other side of a dialogue in a test's script; dropped, it has ended.
#[derive(Debug)]
pub struct Partner {
    /// What is said to it; none any more when whoever said it is gone.
    pub hears: mpsc::UnboundedReceiver<String>,
    /// What it says.
    pub says: mpsc::Sender<String>,
}

/// Lines that may wait to be heard.
pub(super) const LINES: usize = 64;

impl Dialogue {
    pub(super) fn with(to: ChildStdin, from: mpsc::Receiver<String>, exit: local::Child) -> Self {
        Self { to: To::Child(to), from, exit: Some(exit) }
    }

    /// Both sides of a dialogue without a process.
    pub(super) fn scripted() -> (Self, Partner) {
        let (to, hears) = mpsc::unbounded_channel();
        let (says, from) = mpsc::channel(LINES);
        (Self { to: To::Scripted(to), from, exit: None }, Partner { hears, says })
    }

    /// Says a line. Whether it was heard, only an answer tells.
    pub async fn say(&mut self, line: &str) {
        let sent = match &mut self.to {
            To::Child(stdin) => stdin.write_all(format!("{line}\n").as_bytes()).await.is_ok(),
            To::Scripted(sender) => sender.send(line.to_owned()).is_ok(),
        };
        if !sent {
            tracing::debug!("{line:?} was said to nobody");
        }
    }

    /// The next line that it says; none when it says nothing any more.
    pub async fn hear(&mut self) -> Option<String> {
        self.from.recv().await
    }

    /// How it ended, once it says nothing any more; within the command's deadline.
    ///
    /// # Errors
    /// As [`super::Host::run`].
    pub async fn end(self) -> Result<(), TransportError> {
        drop(self.to);
        match self.exit {
            Some(child) => child.wait().await,
            None => Ok(()),
        }
    }
}
