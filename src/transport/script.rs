//! A host for tests: answers the commands that it expects and refuses all others. Not a shell.

use super::{
    ChildExit, Command, Dialogue, Exit, Output, Partner, Sink, Source, TransportError, local,
};
use crate::transport::error::last_lines;
use std::fmt;
use std::fs::File;
use std::io::{Read, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// What a scripted command does.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Answer {
    stdout: Vec<u8>,
    stderr: String,
    status: i32,
    hangs: bool,
}

/// Rules for commands, and the log of all that came. The newest rule that fits answers.
#[derive(Default)]
pub struct Script {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    rules: Vec<Rule>,
    talk: Option<Talk>,
    log: Vec<Command>,
    received: Vec<Vec<u8>>,
}

type Talk = Arc<dyn Fn(&Command, Partner) + Send + Sync>;
type Reply = Arc<dyn Fn(&Command) -> Answer + Send + Sync>;

struct Rule {
    pattern: Vec<String>,
    whole: Whole,
    remaining: Option<usize>,
    reply: Reply,
}

/// Whether a rule's words are all of a command, or its beginning.
#[derive(PartialEq, Eq)]
enum Whole {
    Yes,
    No,
}

impl Answer {
    /// Prints this and ends with 0.
    pub fn prints(stdout: impl Into<Vec<u8>>) -> Self {
        Self { stdout: stdout.into(), ..Self::default() }
    }

    /// Prints nothing and ends with 0.
    pub fn nothing() -> Self {
        Self::default()
    }

    /// Ends with this status after this on standard error.
    pub fn fails(status: i32, stderr: &str) -> Self {
        Self { status, stderr: stderr.to_owned(), ..Self::default() }
    }

    /// Never ends: runs into the deadline.
    pub fn hangs() -> Self {
        Self { hangs: true, ..Self::default() }
    }

    /// Prints this before it ends as it does.
    #[must_use]
    pub fn after_printing(mut self, stdout: impl Into<Vec<u8>>) -> Self {
        self.stdout = stdout.into();
        self
    }
}

impl Script {
    /// A script that expects nothing yet.
    pub fn new() -> Arc<Self> {
        Arc::new(Self::default())
    }

    /// Answers every command whose words begin with these (words separated by blanks).
    pub fn on(&self, prefix: &str, answer: Answer) -> &Self {
        self.add(prefix, Whole::No, None, move |_| answer.clone())
    }

    /// Answers every command that consists of exactly these words.
    pub fn on_exactly(&self, words: &str, answer: Answer) -> &Self {
        self.add(words, Whole::Yes, None, move |_| answer.clone())
    }

    /// As [`Script::on`], but only the next time; older rules count again afterwards.
    pub fn once(&self, prefix: &str, answer: Answer) -> &Self {
        self.add(prefix, Whole::No, Some(1), move |_| answer.clone())
    }

    /// Answers commands that begin so with what the function says.
    pub fn reply<F>(&self, prefix: &str, reply: F) -> &Self
    where
        F: Fn(&Command) -> Answer + Send + Sync + 'static,
    {
        self.add(prefix, Whole::No, None, reply)
    }

    /// Talks with every command that is talked with, as the function does with its side.
    pub fn talk<F>(&self, talk: F) -> &Self
    where
        F: Fn(&Command, Partner) + Send + Sync + 'static,
    {
        self.state().talk = Some(Arc::new(talk));
        self
    }

    /// All commands that came so far, in order, also the unexpected ones.
    pub fn log(&self) -> Vec<String> {
        self.commands().iter().map(Command::to_string).collect()
    }

    /// As [`Script::log`], whole.
    pub fn commands(&self) -> Vec<Command> {
        self.state().log.clone()
    }

    /// What commands were fed as streams, in the order in which the streams ended.
    pub fn received(&self) -> Vec<Vec<u8>> {
        self.state().received.clone()
    }

    pub(super) async fn run(&self, command: &Command) -> Result<Output, TransportError> {
        let answer = self.answer(command)?;
        let (stdout, stderr) = (answer.stdout.clone(), answer.stderr.clone());
        finish(&answer, &Shown::of(command)).await?;
        Ok(Output { stdout, stderr })
    }

    pub(super) fn source(&self, command: &Command) -> Result<Source, TransportError> {
        let (answer, (reader, writer)) = (self.answer(command)?, pipe(command)?);
        let bytes = answer.stdout.clone();
        // The reader may stop early, as a program's reader may.
        let thread = std::thread::spawn(move || drop(File::from(writer).write_all(&bytes)));
        Ok(Source { reader: reader.into(), exit: exit(answer, command, thread) })
    }

    pub(super) fn sink(self: &Arc<Self>, command: &Command) -> Result<Sink, TransportError> {
        let (answer, (reader, writer)) = (self.answer(command)?, pipe(command)?);
        let script = Arc::clone(self);
        let thread = std::thread::spawn(move || {
            let mut bytes = Vec::new();
            if File::from(reader).read_to_end(&mut bytes).is_ok() {
                script.state().received.push(bytes);
            }
        });
        Ok(Sink { writer: writer.into(), exit: exit(answer, command, thread) })
    }

    pub(super) fn dialogue(&self, command: &Command) -> Result<Dialogue, TransportError> {
        let talk = {
            let mut state = self.state();
            state.log.push(command.clone());
            state.talk.clone()
        };
        let unexpected = || TransportError::Unexpected { command: command.to_string() };
        let talk = talk.ok_or_else(unexpected)?;
        let (dialogue, partner) = Dialogue::scripted();
        talk(command, partner);
        Ok(dialogue)
    }

    fn add<F>(&self, words: &str, whole: Whole, remaining: Option<usize>, reply: F) -> &Self
    where
        F: Fn(&Command) -> Answer + Send + Sync + 'static,
    {
        let pattern = words.split_whitespace().map(str::to_owned).collect();
        let rule = Rule { pattern, whole, remaining, reply: Arc::new(reply) };
        self.state().rules.push(rule);
        self
    }

    /// The lock is not held while the answer is made: a reply may look at the script.
    fn answer(&self, command: &Command) -> Result<Answer, TransportError> {
        let reply = self.state().take_reply(command);
        let command_text = || command.to_string();
        reply
            .map(|reply| reply(command))
            .ok_or_else(|| TransportError::Unexpected { command: command_text() })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Script {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Script").field("log", &self.log()).finish_non_exhaustive()
    }
}

impl State {
    fn take_reply(&mut self, command: &Command) -> Option<Reply> {
        self.log.push(command.clone());
        let rule = self.rules.iter_mut().rev().find(|rule| rule.fits(command))?;
        if let Some(remaining) = &mut rule.remaining {
            *remaining -= 1;
        }
        Some(Arc::clone(&rule.reply))
    }
}

impl Rule {
    fn fits(&self, command: &Command) -> bool {
        let argv = command.argv();
        let length_fits = self.whole == Whole::No || argv.len() == self.pattern.len();
        let words_fit = argv.len() >= self.pattern.len()
            && self.pattern.iter().zip(&argv).all(|(expected, word)| expected == word);
        self.remaining != Some(0) && length_fits && words_fit
    }
}

struct Shown {
    command: String,
    deadline: Duration,
}

impl Shown {
    fn of(command: &Command) -> Self {
        Self { command: command.to_string(), deadline: command.deadline }
    }
}

/// How a scripted stream will end.
pub(super) struct Ending {
    answer: Answer,
    shown: Shown,
    killed: bool,
    thread: Option<JoinHandle<()>>,
}

impl fmt::Debug for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ending").field("command", &self.shown.command).finish_non_exhaustive()
    }
}

impl Ending {
    pub(super) async fn wait(mut self) -> Result<(), TransportError> {
        if self.killed {
            let (command, stderr) = (self.shown.command.clone(), String::new());
            let ending = super::Ending::Signal(9);
            return Err(TransportError::Failed { command, ending, stderr });
        }
        if let Some(thread) = self.thread.take() {
            // The stream's thread ends when its other side is closed, which it is by now.
            let _ = tokio::task::spawn_blocking(move || thread.join()).await;
        }
        finish(&self.answer, &self.shown).await
    }

    pub(super) fn kill(&mut self) {
        self.killed = true;
    }
}

fn exit(answer: Answer, command: &Command, thread: JoinHandle<()>) -> ChildExit {
    let (shown, thread) = (Shown::of(command), Some(thread));
    ChildExit(Exit::Scripted(Ending { answer, shown, killed: false, thread }))
}

async fn finish(answer: &Answer, shown: &Shown) -> Result<(), TransportError> {
    let (command, stderr) = (shown.command.clone(), last_lines(&answer.stderr));
    if answer.hangs {
        tokio::time::sleep(shown.deadline).await;
        return Err(TransportError::Deadline { command, after: shown.deadline, stderr });
    }
    match answer.status {
        0 => Ok(()),
        status => {
            let ending = super::Ending::Status(status);
            Err(TransportError::Failed { command, ending, stderr })
        }
    }
}

fn pipe(command: &Command) -> Result<(std::os::fd::OwnedFd, std::os::fd::OwnedFd), TransportError> {
    local::pipe().map_err(|source| TransportError::Start { command: command.to_string(), source })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transport::Host;

    #[tokio::test]
    async fn the_newest_rule_answers_and_unexpected_commands_are_named() {
        let script = Script::new();
        script
            .on("rbd info", Answer::prints("{}"))
            .on_exactly("rbd info x", Answer::fails(2, "no"));
        script.once("rbd info", Answer::fails(110, "late"));
        let host = Host::Scripted(Arc::clone(&script));
        let run = async |words: &str| {
            let mut words = words.split(' ');
            let command = Command::reads(words.next().unwrap()).args(words);
            host.run(&command).await
        };
        assert_eq!(run("rbd info x").await.unwrap_err().status(), Some(110));
        assert_eq!(run("rbd info x").await.unwrap_err().status(), Some(2));
        assert_eq!(run("rbd info x y").await.unwrap().stdout, b"{}");
        let error = run("rbd rm x").await.unwrap_err();
        assert_eq!(error.to_string(), "unexpected command: `rbd rm x`");
        assert_eq!(script.log().last().unwrap(), "rbd rm x");
        assert_eq!(script.log().len(), 4);
    }

    #[tokio::test]
    async fn streams_pass_and_their_end_is_told_afterwards() {
        let script = Script::new();
        script.on("export", Answer::fails(5, "torn").after_printing("half"));
        script.on("import", Answer::nothing());
        let host = Host::Scripted(Arc::clone(&script));
        let mut source = host.source(&Command::reads("export")).unwrap();
        let mut text = String::new();
        source.reader.read_to_string(&mut text).unwrap();
        assert_eq!(
            (text.as_str(), source.exit.wait().await.unwrap_err().status()),
            ("half", Some(5))
        );
        let mut sink = host.sink(&Command::writes("import")).unwrap();
        sink.writer.write_all(b"data").unwrap();
        drop(sink.writer);
        sink.exit.wait().await.unwrap();
        assert_eq!(script.received(), [b"data".to_vec()]);
    }

    #[tokio::test]
    async fn a_hanging_command_runs_into_its_deadline() {
        let script = Script::new();
        script.on("qm", Answer::hangs());
        let command = Command::reads("qm").deadline(Duration::from_millis(10));
        let error = Host::Scripted(script).run(&command).await.unwrap_err();
        assert!(matches!(error, TransportError::Deadline { .. }), "{error}");
    }
}
