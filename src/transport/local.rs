//! Starts processes on this machine: the only file that does. Not for deciding what to run.

use super::bound;
use super::collect::{Tail, all_of, send_lines};
use super::dialogue::LINES;
use super::error::last_lines;
use super::group::Group;
use super::ssh::without_mark;
use super::{
    ChildExit, Command, Dialogue, Ending, Environment, Exit, Lifetime, Output, Sink, Source,
    TransportError,
};
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

/// This machine.
#[derive(Debug, Clone, Copy, Default)]
pub struct Local;

impl Local {
    pub(super) async fn run(&self, command: &Command) -> Result<Output, TransportError> {
        run(&Launch::of(command)).await
    }

    /// Runs a program of the user's in `/`, and tells each line that it prints while it runs. A
    /// background process that it leaves behind keeps nobody waiting.
    ///
    /// # Errors
    /// As [`super::Host::run`]; the error holds no output, as every line was told.
    pub async fn run_lines(
        &self,
        command: &Command,
        environment: &Environment,
        tell: &(dyn Fn(&str) + Sync),
    ) -> Result<(), TransportError> {
        let launch = Launch::of(command);
        let mut process = prepared(&launch, stdin_for(&launch), Stdio::piped())
            .and_then(|mut process| {
                let set = environment.set.iter().map(|(name, value)| (name, value));
                process.env_remove("LC_ALL").envs(set).current_dir("/");
                for name in &environment.removed {
                    process.env_remove(name);
                }
                process.spawn()
            })
            .map_err(|source| start_error(&launch, source))?;
        let (sender, mut lines) = mpsc::channel(256);
        let mut readers = JoinSet::new();
        readers.spawn(send_lines(process.stdout.take(), sender.clone()));
        readers.spawn(send_lines(process.stderr.take(), sender));
        let mut child = Child::of(process, &launch);
        let ended = {
            let mut ended = std::pin::pin!(child.finish());
            loop {
                tokio::select! {
                    Some(line) = lines.recv() => tell(&line),
                    ended = &mut ended => break ended,
                }
            }
        };
        let rest = async {
            while let Some(line) = lines.recv().await {
                tell(&line);
            }
        };
        // What it wrote itself is in the pipes already; only its orphans could write more.
        let _ = tokio::time::timeout(REST, rest).await;
        ended.map(drop)
    }

    pub(super) fn source(&self, command: &Command) -> Result<Source, TransportError> {
        source(&Launch::of(command))
    }

    pub(super) fn sink(&self, command: &Command) -> Result<Sink, TransportError> {
        sink(&Launch::of(command))
    }

    pub(super) fn dialogue(&self, command: &Command) -> Result<Dialogue, TransportError> {
        dialogue(&Launch::of(command))
    }
}

/// What is started, and what is shown of it: over ssh these are two things.
#[derive(Debug)]
pub(super) struct Launch<'a> {
    pub argv: Vec<&'a str>,
    pub input: Option<&'a [u8]>,
    pub deadline: Duration,
    /// Bytes of standard output that are taken at most.
    pub output_limit: usize,
    pub lifetime: Lifetime,
    pub shown: String,
    /// The node that ssh goes to, whose status 255 then means that ssh itself failed.
    pub node: Option<&'a str>,
}

impl<'a> Launch<'a> {
    fn of(command: &'a Command) -> Self {
        Self {
            argv: command.argv(),
            input: command.input.as_deref(),
            deadline: command.deadline,
            output_limit: command.output_limit,
            lifetime: command.lifetime,
            shown: command.to_string(),
            node: None,
        }
    }
}

pub(super) async fn run(launch: &Launch<'_>) -> Result<Output, TransportError> {
    let mut child = Child::start(launch, stdin_for(launch), Stdio::piped())?;
    let (flood, mut floods) = oneshot::channel();
    let stdout = child.process.stdout.take();
    let stdout = tokio::spawn(all_of(stdout, launch.output_limit, flood));
    let stderr = tokio::select! {
        ended = child.finish() => ended?,
        // The other end is dropped without a word when all came.
        Ok(()) = &mut floods => return Err(child.flooded(launch.output_limit).await),
    };
    // A background process that inherited the pipe may hold it open for ever.
    let stdout = tokio::time::timeout(LINGER, stdout).await;
    match stdout.map(|joined| joined.map_err(std::io::Error::other).and_then(|read| read)) {
        Ok(Ok(Some(stdout))) => Ok(Output { stdout, stderr }),
        Ok(Ok(None)) => Err(child.flooded(launch.output_limit).await),
        Ok(Err(source)) => Err(pipe_error(launch, source)),
        Err(late) => Err(pipe_error(launch, late.into())),
    }
}

pub(super) fn source(launch: &Launch<'_>) -> Result<Source, TransportError> {
    let (reader, theirs) = pipe().map_err(|source| start_error(launch, source))?;
    let child = Child::start(launch, stdin_for(launch), theirs.into())?;
    Ok(Source { reader: reader.into(), exit: ChildExit(Exit::Child(child)) })
}

pub(super) fn sink(launch: &Launch<'_>) -> Result<Sink, TransportError> {
    let (theirs, writer) = pipe().map_err(|source| start_error(launch, source))?;
    let child = Child::start(launch, theirs.into(), Stdio::null())?;
    Ok(Sink { writer: writer.into(), exit: ChildExit(Exit::Child(child)) })
}

pub(super) fn dialogue(launch: &Launch<'_>) -> Result<Dialogue, TransportError> {
    let mut process = prepared(launch, Stdio::piped(), Stdio::piped())
        .and_then(|mut process| process.spawn())
        .map_err(|source| start_error(launch, source))?;
    let no_input = || start_error(launch, std::io::ErrorKind::BrokenPipe.into());
    let to = process.stdin.take().ok_or_else(no_input)?;
    let (says, from) = mpsc::channel(LINES);
    tokio::spawn(send_lines(process.stdout.take(), says));
    Ok(Dialogue::with(to, from, Child::of(process, launch)))
}

/// A pipe for bulk data: read end, write end. Children do not inherit it by accident.
pub(super) fn pipe() -> std::io::Result<(OwnedFd, OwnedFd)> {
    let (reader, writer) = nix::unistd::pipe2(OFlag::O_CLOEXEC)?;
    // Fewer wake-ups per megabyte; unprivileged users may be refused, and then 64 KiB must do.
    let _ = fcntl(&writer, FcntlArg::F_SETPIPE_SZ(1 << 20));
    Ok((reader, writer))
}

/// A started process in a group of its own; dropped, the group is killed.
#[derive(Debug)]
pub(super) struct Child {
    // The order matters: the group is killed while the process is not yet reaped, so that its
    // number cannot belong to someone else.
    group: Group,
    process: tokio::process::Child,
    stderr: Tail,
    deadline: Duration,
    shown: String,
    node: Option<String>,
}

/// After the process ended, only its orphans can hold a pipe; they get this long.
const LINGER: Duration = Duration::from_secs(2);
/// How long the last lines of an ended program may take to be read.
const REST: Duration = Duration::from_millis(300);

impl Child {
    fn start(launch: &Launch<'_>, stdin: Stdio, stdout: Stdio) -> Result<Self, TransportError> {
        let process = prepared(launch, stdin, stdout)
            .and_then(|mut process| match launch.lifetime {
                Lifetime::Own => process.spawn(),
                Lifetime::Ours => bound::spawn(process),
            })
            .map_err(|source| start_error(launch, source))?;
        Ok(Self::of(process, launch))
    }

    fn of(mut process: tokio::process::Child, launch: &Launch<'_>) -> Self {
        let group = Group::led_by(process.id());
        let stderr = Tail::of(process.stderr.take());
        if let (Some(mut stdin), Some(input)) = (process.stdin.take(), launch.input) {
            let input = input.to_vec();
            // A program that does not read its input to the end is no error: its status counts.
            tokio::spawn(async move {
                let _ = stdin.write_all(&input).await;
            });
        }
        let (shown, node) = (launch.shown.clone(), launch.node.map(str::to_owned));
        Self { group, process, stderr, deadline: launch.deadline, shown, node }
    }

    pub(super) async fn wait(mut self) -> Result<(), TransportError> {
        let watch = crate::clock::Stopwatch::start();
        let result = self.finish().await.map(drop);
        let millis = watch.elapsed().as_millis();
        let ending = result.as_ref().err().and_then(TransportError::ending);
        tracing::debug!(command = %self.shown, millis, ?ending, ok = result.is_ok(), "stream ended");
        result
    }

    pub(super) fn kill(&mut self) {
        self.group.kill();
    }

    /// Waits for the end and tells it; the error output is the result.
    async fn finish(&mut self) -> Result<String, TransportError> {
        let Ok(ended) = tokio::time::timeout(self.deadline, self.process.wait()).await else {
            self.end().await;
            let (command, after) = (self.shown.clone(), self.deadline);
            let stderr = last_lines(&self.stderr.text(LINGER).await);
            return Err(TransportError::Deadline { command, after, stderr });
        };
        let command = self.shown.clone();
        let status = ended.map_err(|source| TransportError::Pipe { command, source })?;
        self.group.forget();
        let stderr = self.stderr.text(LINGER).await;
        if status.success() {
            return Ok(stderr);
        }
        Err(self.failure(ending(status), &stderr))
    }

    /// Kills the group. Only a process that the kernel does not let go is not reaped then; its number
    /// stays its own until it is.
    async fn end(&mut self) {
        self.group.kill();
        if tokio::time::timeout(LINGER, self.process.wait()).await.is_ok() {
            self.group.forget();
        }
    }

    async fn flooded(&mut self, limit: usize) -> TransportError {
        self.end().await;
        TransportError::TooMuch { command: self.shown.clone(), limit }
    }

    fn failure(&self, ending: Ending, stderr: &str) -> TransportError {
        let command = self.shown.clone();
        let Some(node) = &self.node else {
            return TransportError::Failed { command, ending, stderr: last_lines(stderr) };
        };
        let (stderr, is_the_programs) = without_mark(stderr);
        let stderr = last_lines(&stderr);
        match ending {
            Ending::Status(255) if !is_the_programs => {
                TransportError::Unreachable { node: node.clone(), command, stderr }
            }
            _ => TransportError::Failed { command, ending, stderr },
        }
    }
}

// The one place of the project that starts processes.
#[allow(clippy::disallowed_methods)]
fn prepared(
    launch: &Launch<'_>,
    stdin: Stdio,
    stdout: Stdio,
) -> std::io::Result<tokio::process::Command> {
    let (program, args) = launch.argv.split_first().ok_or(std::io::ErrorKind::InvalidInput)?;
    let mut process = tokio::process::Command::new(program);
    process
        .args(args)
        // Messages and numbers in the form that our parsers know.
        .env("LC_ALL", "C")
        .stdin(stdin)
        .stdout(stdout)
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true);
    Ok(process)
}

fn stdin_for(launch: &Launch<'_>) -> Stdio {
    if launch.input.is_some() { Stdio::piped() } else { Stdio::null() }
}

fn ending(status: ExitStatus) -> Ending {
    match (status.code(), status.signal()) {
        (Some(code), _) => Ending::Status(code),
        (None, signal) => Ending::Signal(signal.unwrap_or_default()),
    }
}

fn start_error(launch: &Launch<'_>, source: std::io::Error) -> TransportError {
    TransportError::Start { command: launch.shown.clone(), source }
}

fn pipe_error(launch: &Launch<'_>, source: std::io::Error) -> TransportError {
    TransportError::Pipe { command: launch.shown.clone(), source }
}

#[cfg(test)]
mod tests {
    use super::{Child, Group, Launch};
    use crate::transport::{Command, Ending, Host, TransportError};
    use std::io::{Read, Write};
    use std::process::Stdio;
    use std::time::{Duration, Instant};

    fn shell(script: &str) -> Command {
        Command::reads("sh").args(["-c", script]).deadline(Duration::from_secs(20))
    }

    async fn gone(pid: &str) -> bool {
        let begin = Instant::now();
        // A killed process is a zombie until its new parent has reaped it.
        let alive = || {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            stat.rsplit(')').next().is_some_and(|rest| !rest.is_empty() && !rest.starts_with(" Z"))
        };
        while alive() && begin.elapsed() < Duration::from_secs(5) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        !alive()
    }

    #[tokio::test]
    async fn output_input_and_locale_arrive() {
        let command = shell("cat; printf %s \"$LC_ALL\"").input("a\0b");
        assert_eq!(Host::local().run(&command).await.unwrap().stdout, b"a\0bC");
    }

    #[tokio::test]
    async fn only_the_exit_status_0_is_a_success() {
        for status in [0, 1, 2, 127, 255] {
            let command = shell(&format!("exit {status}"));
            let ended = Host::local().run(&command).await.map_err(|error| error.status());
            assert_eq!(ended.map(drop), if status == 0 { Ok(()) } else { Err(Some(status)) });
        }
    }

    #[tokio::test]
    async fn failures_name_the_command_the_end_and_the_last_lines() {
        let error = Host::local().run(&shell("seq 30 >&2; exit 7")).await.unwrap_err();
        assert_eq!((error.status(), error.stderr().lines().count()), (Some(7), 20));
        let text = error.to_string();
        assert!(text.contains("ended with status 7") && text.contains("sh -c"), "{text}");
        let error = Host::local().run(&shell("kill -9 $$")).await.unwrap_err();
        assert_eq!(error.ending(), Some(Ending::Signal(9)));
        let error = Host::local().run(&Command::reads("/nonexistent/tool")).await.unwrap_err();
        assert!(error.did_not_run() && error.to_string().contains("nothing was changed"));
    }

    #[tokio::test]
    async fn the_deadline_kills_the_whole_process_group() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("pid");
        let script = format!("sleep 100 & echo $! >{}; wait", file.display());
        let command = shell(&script).deadline(Duration::from_millis(500));
        let error = Host::local().run(&command).await.unwrap_err();
        assert!(matches!(error, TransportError::Deadline { .. }), "{error}");
        assert!(gone(std::fs::read_to_string(file).unwrap().trim()).await);
    }

    /// By then it may be somebody else's.
    #[tokio::test]
    async fn the_number_of_a_program_that_was_waited_for_is_never_signalled_again() {
        let gone = Group::led_by(None);
        let ended = shell("exit 3");
        let mut child = Child::start(&Launch::of(&ended), Stdio::null(), Stdio::null()).unwrap();
        assert_ne!(child.group, gone, "until then its group is killed with it");
        child.finish().await.unwrap_err();
        assert_eq!(child.group, gone);
        let late = shell("sleep 100").deadline(Duration::from_millis(100));
        let mut child = Child::start(&Launch::of(&late), Stdio::null(), Stdio::null()).unwrap();
        let error = child.finish().await.unwrap_err();
        assert!(matches!(error, TransportError::Deadline { .. }), "{error}");
        assert_eq!(child.group, gone);
        let flood = shell("sleep 100");
        let mut child = Child::start(&Launch::of(&flood), Stdio::null(), Stdio::null()).unwrap();
        child.flooded(99).await;
        assert_eq!(child.group, gone);
    }

    #[tokio::test]
    async fn a_flood_is_an_error_that_names_the_tool_and_what_it_may_print_is_the_callers_to_say() {
        let flood = shell("yes | head -c 300000000; sleep 100");
        let begin = Instant::now();
        let error = Host::local().run(&flood).await.unwrap_err();
        let text = error.to_string();
        assert!(text.contains("sh -c") && text.contains("16.00 MiB"), "{text}");
        assert!(begin.elapsed() < Duration::from_secs(15), "it was ended, not waited for");
        // One that ended meanwhile is none the better.
        let short = shell("head -c 100 /dev/zero").output_limit(99);
        let error = Host::local().run(&short).await.unwrap_err();
        assert!(matches!(error, TransportError::TooMuch { limit: 99, .. }), "{error}");
        let enough = shell("head -c 100 /dev/zero").output_limit(100);
        assert_eq!(Host::local().run(&enough).await.unwrap().stdout.len(), 100);
    }

    #[tokio::test]
    async fn what_was_said_is_known_although_an_orphan_holds_the_pipe() {
        let script = "setsid sleep 15 >/dev/null & echo 'no such image' >&2; exit 2";
        let error = Host::local().run(&shell(script)).await.unwrap_err();
        assert_eq!((error.status(), error.stderr()), (Some(2), "no such image"));
    }

    #[tokio::test]
    async fn a_program_that_is_deaf_to_sigterm_ends_at_its_deadline() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("pid");
        let script =
            format!("trap '' TERM HUP INT; echo $$ >{}; sleep 100; sleep 100", file.display());
        let command = shell(&script).deadline(Duration::from_millis(500));
        let error = Host::local().run(&command).await.unwrap_err();
        assert!(matches!(error, TransportError::Deadline { .. }), "{error}");
        assert!(gone(std::fs::read_to_string(file).unwrap().trim()).await);
    }

    #[tokio::test]
    async fn a_dropped_command_dies_with_its_group() {
        let mut source = Host::local().source(&shell("echo $$; sleep 100 & wait")).unwrap();
        let mut pid = [0; 32];
        let count = source.reader.read(&mut pid).unwrap();
        drop(source.exit);
        assert!(gone(std::str::from_utf8(&pid[..count]).unwrap().trim()).await);
    }

    #[tokio::test]
    async fn a_source_that_breaks_off_is_known_only_from_its_exit() {
        let mut source = Host::local().source(&shell("printf half; exit 3")).unwrap();
        let mut text = String::new();
        source.reader.read_to_string(&mut text).unwrap();
        assert_eq!(text, "half");
        assert_eq!(source.exit.wait().await.unwrap_err().status(), Some(3));
        let mut source = Host::local().source(&shell("printf x; sleep 100")).unwrap();
        source.exit.kill();
        source.reader.read_to_string(&mut text).unwrap();
        assert_eq!(source.exit.wait().await.unwrap_err().ending(), Some(Ending::Signal(9)));
    }

    #[tokio::test]
    async fn a_sink_gets_all_bytes_and_its_end_counts() {
        let data = vec![7_u8; 3 << 20];
        let mut sink = Host::local().sink(&shell("test $(wc -c) = 3145728")).unwrap();
        let writer = std::thread::spawn(move || sink.writer.write_all(&data));
        tokio::task::spawn_blocking(|| writer.join()).await.unwrap().unwrap().unwrap();
        sink.exit.wait().await.unwrap();
        let mut sink = Host::local().sink(&shell("exec 0<&-; exit 28")).unwrap();
        let broken = std::thread::spawn(move || sink.writer.write_all(&vec![0_u8; 8 << 20]));
        let joined = tokio::task::spawn_blocking(|| broken.join()).await.unwrap().unwrap();
        assert_eq!(joined.unwrap_err().kind(), std::io::ErrorKind::BrokenPipe);
        assert_eq!(sink.exit.wait().await.unwrap_err().status(), Some(28));
    }

    #[tokio::test]
    async fn an_orphan_that_holds_the_pipes_does_not_hold_us_for_long() {
        let begin = Instant::now();
        let result = Host::local().run(&shell("setsid sleep 15 & echo done")).await;
        assert!(begin.elapsed() < Duration::from_secs(10), "{result:?}");
    }
}
