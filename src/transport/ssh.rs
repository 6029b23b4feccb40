//! Runs commands on another node as root over ssh: the only file that quotes for a shell. Not for
//! finding out where a node is: its address comes from pve/.

use super::local::{self, Launch};
use super::{Command, Dialogue, Output, Sink, Source, TransportError};
use std::path::{Path, PathBuf};

/// Another node of the cluster.
#[derive(Debug, Clone)]
pub struct Ssh {
    node: String,
    address: String,
    known_hosts: Option<PathBuf>,
}

impl Ssh {
    /// The node `node` at `address`; its host key stands in PVE's file for it under `etc_pve`, or,
    /// on clusters that do not have these files (before PVE 8), in the system's.
    pub fn new(node: &str, address: &str, etc_pve: &Path) -> Self {
        let file = etc_pve.join("nodes").join(node).join("ssh_known_hosts");
        let known_hosts = file.exists().then_some(file);
        Self { node: node.to_owned(), address: address.to_owned(), known_hosts }
    }

    pub(super) async fn run(&self, command: &Command) -> Result<Output, TransportError> {
        let argv = self.argv(command);
        local::run(&self.launch(command, &argv)).await
    }

    pub(super) fn source(&self, command: &Command) -> Result<Source, TransportError> {
        let argv = self.argv(command);
        local::source(&self.launch(command, &argv))
    }

    pub(super) fn sink(&self, command: &Command) -> Result<Sink, TransportError> {
        let argv = self.argv(command);
        local::sink(&self.launch(command, &argv))
    }

    pub(super) fn dialogue(&self, command: &Command) -> Result<Dialogue, TransportError> {
        let argv = self.argv(command);
        local::dialogue(&self.launch(command, &argv))
    }

    /// What is really started. The options are PVE's own (`PVE::SSHInfo::ssh_info_to_command`),
    /// and those that make a dead node an error within half a minute.
    fn argv(&self, command: &Command) -> Vec<String> {
        let alias = format!("HostKeyAlias={}", self.node);
        let mut argv = vec!["ssh".to_owned(), "-e".to_owned(), "none".to_owned()];
        let mut option = |text: &str| argv.extend(["-o".to_owned(), text.to_owned()]);
        ["BatchMode=yes", "ConnectTimeout=10", "ServerAliveInterval=5", "ServerAliveCountMax=3"]
            .into_iter()
            .for_each(&mut option);
        option(&alias);
        if let Some(file) = &self.known_hosts {
            option(&format!("UserKnownHostsFile={}", file.display()));
            option("GlobalKnownHostsFile=none");
        }
        argv.extend(["--".to_owned(), format!("root@{}", self.address), remote_line(command)]);
        argv
    }

    fn launch<'a>(&'a self, command: &'a Command, argv: &'a [String]) -> Launch<'a> {
        Launch {
            argv: argv.iter().map(String::as_str).collect(),
            input: command.input.as_deref(),
            deadline: command.deadline,
            output_limit: command.output_limit,
            lifetime: command.lifetime,
            shown: format!("ssh {} {command}", self.node),
            node: Some(&self.node),
        }
    }
}

/// Said by the other node when the program itself ended with 255: as its own status it has a meaning
/// (`qm` and `pvesh` end so when they die without an errno), as ssh's it says that ssh failed.
const MARK: &str = "pve-ferry: status 255 is the program's own";

/// Runs the program and passes its status on.
const REMOTE: &str = "\"$@\"; status=$?; test $status != 255 || echo";

/// The one string that the remote shell reads: every word quoted. The login shell may be any; what
/// looks at the status is a POSIX one.
fn remote_line(command: &Command) -> String {
    let words: Vec<String> = command.argv().iter().map(|word| quoted(word)).collect();
    let script = quoted(&format!("{REMOTE} {} >&2; exit $status", quoted(MARK)));
    format!("exec env LC_ALL=C sh -c {script} pve-ferry {}", words.join(" "))
}

/// Standard error without the mark, and whether it was there.
pub(super) fn without_mark(stderr: &str) -> (String, bool) {
    let lines = || stderr.lines().filter(|line| line.trim_end() != MARK);
    let without = lines().collect::<Vec<_>>().join("\n");
    (without, lines().count() < stderr.lines().count())
}

/// A word that any POSIX shell reads as exactly this text.
fn quoted(word: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b'/');
    if !word.is_empty() && word.bytes().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transport::Host;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]
        #[test]
        fn a_real_shell_reads_back_the_same_words(
            words in proptest::collection::vec("[^\0]{0,12}|['\"$`\\\\!*?~#;&|<>(){} \n-]{0,8}", 1..6)
        ) {
            let command = Command::reads("printf").arg("%s\\0").args(words.clone());
            let shell = Command::reads("sh").args(["-c".to_owned(), remote_line(&command)]);
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            let output = runtime.block_on(Host::local().run(&shell)).unwrap();
            let expected: String = words.iter().map(|word| format!("{word}\0")).collect();
            prop_assert_eq!(String::from_utf8(output.stdout).unwrap(), expected);
        }
    }

    #[test]
    fn the_options_pin_the_nodes_host_key_where_pve_keeps_one() {
        let dir = tempfile::tempdir().unwrap();
        let ssh = Ssh::new("pve2", "192.0.2.2", dir.path());
        let command = Command::reads("qm").args(["status", "100"]);
        let expected = "ssh -e none -o BatchMode=yes -o ConnectTimeout=10 -o ServerAliveInterval=5 \
            -o ServerAliveCountMax=3 -o HostKeyAlias=pve2 -- root@192.0.2.2 \
            exec env LC_ALL=C sh -c ";
        let line = ssh.argv(&command).join(" ");
        assert!(line.starts_with(expected), "{line}");
        assert!(line.ends_with(" pve-ferry qm status 100"), "{line}");
        let node = dir.path().join("nodes/pve2");
        std::fs::create_dir_all(&node).unwrap();
        std::fs::write(node.join("ssh_known_hosts"), "").unwrap();
        let line = Ssh::new("pve2", "192.0.2.2", dir.path()).argv(&command).join(" ");
        let option = format!("-o UserKnownHostsFile={}/ssh_known_hosts ", node.display());
        assert!(line.contains(&option) && line.contains("GlobalKnownHostsFile=none"), "{line}");
    }

    /// What `ssh` does with a node's line: a login shell reads it, and its status is ssh's.
    async fn over_there(command: &Command, login_shell: &str) -> Result<Output, TransportError> {
        let (ssh, line) =
            (Ssh::new("pve2", "192.0.2.2", Path::new("/nowhere")), remote_line(command));
        let argv = [login_shell.to_owned(), "-c".to_owned(), line];
        local::run(&ssh.launch(command, &argv)).await
    }

    #[tokio::test]
    async fn status_255_of_the_program_is_its_own_and_not_a_node_that_is_out_of_reach() {
        let locked = "echo 'VM is locked (backup)' >&2; exit 255";
        let error = over_there(&Command::reads("sh").args(["-c", locked]), "sh").await.unwrap_err();
        assert_eq!((error.status(), error.stderr()), (Some(255), "VM is locked (backup)"));
        let other = Command::reads("sh").args(["-c", "echo no >&2; exit 7"]);
        assert_eq!(over_there(&other, "sh").await.unwrap_err().status(), Some(7));
        let killed = Command::reads("sh").args(["-c", "kill -9 $$"]);
        let error = over_there(&killed, "sh").await.unwrap_err();
        assert!(error.status().is_some_and(|status| status != 255), "it ran there: {error}");
        let absent = over_there(&Command::reads("/nonexistent/tool"), "sh").await.unwrap_err();
        assert_eq!(absent.status(), Some(127));
    }

    #[tokio::test]
    async fn status_255_of_ssh_itself_is_a_node_that_is_out_of_reach() {
        let refused = "ssh: connect to host 192.0.2.2 port 22: Connection refused";
        let (command, script) = (Command::reads("qm"), format!("echo '{refused}' >&2; exit 255"));
        let ssh = Ssh::new("pve2", "192.0.2.2", Path::new("/nowhere"));
        let argv = ["sh".to_owned(), "-c".to_owned(), script];
        let error = local::run(&ssh.launch(&command, &argv)).await.unwrap_err();
        assert!(matches!(error, TransportError::Unreachable { .. }), "{error}");
        assert!(error.stderr().contains(refused));
    }

    #[test]
    fn secrets_do_not_stand_in_what_is_shown() {
        let ssh = Ssh::new("pve2", "192.0.2.2", Path::new("/nowhere"));
        let command = Command::reads("curl").secret("tok en");
        let argv = ssh.argv(&command);
        assert!(argv.iter().any(|arg| arg.ends_with("curl 'tok en'")));
        assert_eq!(ssh.launch(&command, &argv).shown, "ssh pve2 curl ***");
    }
}
