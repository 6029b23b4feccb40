//! Runs programs, here or on another node, and says exactly how they ended. Not a shell.
//!
//! A [`Command`] is a program with arguments; pipes are made here; only `local.rs` starts
//! processes and only `ssh.rs` quotes. Every child lives in a process group of its own, so that a
//! ^C on the terminal does not reach it, and dies with the value that stands for it; one whose
//! [`Lifetime`] says so also when this process is killed.

mod bound;
mod collect;
mod command;
mod dialogue;
mod error;
mod group;
mod local;
mod script;
mod ssh;

pub use command::{Argument, Command, Effect, Environment, Lifetime};
pub use dialogue::{Dialogue, Partner};
pub use error::{Ending, TransportError};
pub use local::Local;
pub use script::{Answer, Script};
pub use ssh::Ssh;

use crate::clock::Stopwatch;
use std::fs::File;
use std::sync::Arc;

/// A machine on which commands run.
#[derive(Debug, Clone)]
pub enum Host {
    /// This machine.
    Local(Local),
    /// Another node, as root over ssh.
    Ssh(Ssh),
    /// A test's list of expected commands and their answers.
    Scripted(Arc<Script>),
}

/// What a command that ended with 0 printed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Output {
    /// Its standard output, whole; never more than the command's limit.
    pub stdout: Vec<u8>,
    /// The end of its standard error, at most 64 KiB.
    pub stderr: String,
}

/// A running command whose output is read while it runs. The end of the data proves nothing:
/// only [`ChildExit::wait`] does.
#[derive(Debug)]
pub struct Source {
    /// Its standard output.
    pub reader: File,
    /// How it will end.
    pub exit: ChildExit,
}

/// A running command that is fed while it runs. Drop the writer, then wait for the exit.
#[derive(Debug)]
pub struct Sink {
    /// Its standard input.
    pub writer: File,
    /// How it will end.
    pub exit: ChildExit,
}

/// The end of a running command. Dropped before it came, it kills the command.
#[derive(Debug)]
pub struct ChildExit(Exit);

#[derive(Debug)]
enum Exit {
    Child(local::Child),
    Scripted(script::Ending),
}

impl Host {
    /// This machine.
    pub fn local() -> Self {
        Self::Local(Local)
    }

    /// Whether a command goes through another machine's network before it runs.
    pub fn is_remote(&self) -> bool {
        matches!(self, Self::Ssh(_))
    }

    /// Runs the command to its end, within its deadline.
    ///
    /// # Errors
    /// It could not be started, ended with anything but 0, printed more than its limit, or did not end
    /// in time (then its whole process group was killed; on another node the program itself may go on).
    pub async fn run(&self, command: &Command) -> Result<Output, TransportError> {
        let watch = Stopwatch::start();
        let result = match self {
            Self::Local(local) => local.run(command).await,
            Self::Ssh(ssh) => ssh.run(command).await,
            Self::Scripted(script) => script.run(command).await,
        };
        log(command, watch, result.as_ref().err());
        result
    }

    /// Starts a command whose output is a stream. Needs a tokio runtime around it. The deadline
    /// counts from [`ChildExit::wait`] on.
    ///
    /// # Errors
    /// It could not be started.
    pub fn source(&self, command: &Command) -> Result<Source, TransportError> {
        match self {
            Self::Local(local) => local.source(command),
            Self::Ssh(ssh) => ssh.source(command),
            Self::Scripted(script) => script.source(command),
        }
    }

    /// Starts a command that is fed a stream. As [`Host::source`] otherwise.
    ///
    /// # Errors
    /// It could not be started.
    pub fn sink(&self, command: &Command) -> Result<Sink, TransportError> {
        match self {
            Self::Local(local) => local.sink(command),
            Self::Ssh(ssh) => ssh.sink(command),
            Self::Scripted(script) => script.sink(command),
        }
    }
}

impl Host {
    /// Starts a command that is talked with. Needs a tokio runtime around it. The deadline counts
    /// from [`Dialogue::end`] on.
    ///
    /// # Errors
    /// It could not be started.
    pub fn dialogue(&self, command: &Command) -> Result<Dialogue, TransportError> {
        match self {
            Self::Local(local) => local.dialogue(command),
            Self::Ssh(ssh) => ssh.dialogue(command),
            Self::Scripted(script) => script.dialogue(command),
        }
    }
}

impl ChildExit {
    /// Waits for the end, within the command's deadline: the streams are done by now.
    ///
    /// # Errors
    /// As [`Host::run`].
    pub async fn wait(self) -> Result<(), TransportError> {
        match self.0 {
            Exit::Child(child) => child.wait().await,
            Exit::Scripted(ending) => ending.wait().await,
        }
    }

    /// Kills the command with its process group; a wait afterwards says that it was killed.
    pub fn kill(&mut self) {
        match &mut self.0 {
            Exit::Child(child) => child.kill(),
            Exit::Scripted(ending) => ending.kill(),
        }
    }
}

fn log(command: &Command, watch: Stopwatch, error: Option<&TransportError>) {
    let millis = watch.elapsed().as_millis();
    match error.map(TransportError::ending) {
        None => tracing::debug!(%command, millis, "command ended with 0"),
        Some(Some(ending)) => tracing::debug!(%command, millis, %ending, "command failed"),
        Some(None) => tracing::debug!(%command, millis, "command failed without an end"),
    }
}
