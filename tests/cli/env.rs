//! The machine of a test: the built program, fakes on its PATH, a cluster file system and a
//! repository in a temporary directory. Checks nothing by itself.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// A node of a cluster, with no guests yet.
pub struct Env {
    home: TempDir,
}

/// What a run of the program said.
#[derive(Debug)]
pub struct Said {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Said {
    /// The run ended with this code.
    pub fn exits(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "{self:#?}");
        self
    }

    /// The document on stdout.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|e| panic!("{e}: {self:#?}"))
    }

    /// Standard error holds each of these.
    pub fn complains(self, of: &[&str]) -> Self {
        of.iter().for_each(|text| assert!(self.stderr.contains(text), "{text:?} in {self:#?}"));
        self
    }

    /// Standard output holds each of these.
    pub fn says(self, of: &[&str]) -> Self {
        of.iter().for_each(|text| assert!(self.stdout.contains(text), "{text:?} in {self:#?}"));
        self
    }
}

impl Env {
    pub fn new() -> Self {
        let home = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir());
        let env = Self { home: home.unwrap() };
        for directory in [
            "bin",
            "state",
            "rbd/rbd",
            "repository/pve-ferry",
            "cron.d",
            "etc/priv/ceph",
            "etc/firewall",
            "etc/nodes/pve1/qemu-server",
            "etc/nodes/pve1/lxc",
            "etc/nodes/pve2/qemu-server",
            "etc/nodes/pve2/lxc",
        ] {
            fs::create_dir_all(env.path(directory)).unwrap();
        }
        symlink("nodes/pve1", env.path("etc/local")).unwrap();
        fs::write(env.path("etc/ceph.conf"), "[global]\n").unwrap();
        fs::write(env.path("etc/priv/ceph/ceph.keyring"), "").unwrap();
        let storages = "dir: local\n\tpath /var/lib/vz\n\trbd: no\n\nrbd: ceph\n\tpool rbd\n\tcontent images,rootdir\n";
        fs::write(env.path("etc/storage.cfg"), storages).unwrap();
        env.put_fakes_on_path();
        env
    }

    /// A node with a running machine 100, whose agent answers, and two disks.
    pub fn with_guest() -> Self {
        Self::with_disks(2)
    }

    /// The same with as many disks: every look at one costs the start of a fake.
    pub fn with_disks(disks: u32) -> Self {
        let env = Self::new();
        env.add_guest(100, disks);
        fs::create_dir_all(env.path("state/100")).unwrap();
        fs::write(env.path("state/100/running"), "").unwrap();
        fs::write(env.path("state/100/agent"), "3\n").unwrap();
        env
    }

    fn put_fakes_on_path(&self) {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
        let fakes = [
            ("rbd", "cli/fakes/rbd.pl"),
            ("ceph", "cli/fakes/rbd.pl"),
            ("test", "cli/fakes/test"),
            ("qm", "fakes/pve.py"),
            ("pct", "fakes/pve.py"),
            ("pvesh", "fakes/pve.py"),
            ("systemd-run", "fakes/pve.py"),
            ("systemctl", "fakes/pve.py"),
            ("ssh", "fakes/ssh"),
            ("sendmail", "cli/fakes/sendmail"),
        ];
        for (name, fake) in fakes {
            symlink(root.join(fake), self.path("bin").join(name)).unwrap();
        }
    }

    pub fn path(&self, relative: &str) -> PathBuf {
        self.home.path().join(relative)
    }

    /// Adds a stopped machine with disks of 256 KiB.
    pub fn add_guest(&self, vmid: u32, disks: u32) {
        let mut config = format!(
            "agent: 1\nname: web{vmid}\nsmbios1: uuid=00000000-0000-4000-8000-{vmid:012}\n\
             net0: virtio=BC:24:11:00:00:01,bridge=vmbr0\n"
        );
        for disk in 0..disks {
            let name = format!("vm-{vmid}-disk-{disk}");
            config.push_str(&format!("scsi{disk}: ceph:{name},size=256K\n"));
            let image = self.path("rbd/rbd").join(&name);
            fs::create_dir(&image).unwrap();
            let facts = format!("{vmid}0{disk}abcdef\n262144\n0\n");
            fs::write(image.join("facts"), facts).unwrap();
            fs::write(image.join("head"), content(u8::try_from(disk).unwrap() + 1)).unwrap();
        }
        fs::write(self.path(&format!("etc/nodes/pve1/qemu-server/{vmid}.conf")), config).unwrap();
    }

    /// The content of an image.
    pub fn head(&self, image: &str) -> Vec<u8> {
        fs::read(self.path("rbd/rbd").join(image).join("head")).unwrap()
    }

    pub fn write_head(&self, image: &str, bytes: &[u8]) {
        fs::write(self.path("rbd/rbd").join(image).join("head"), bytes).unwrap();
    }

    /// The names of an image's snapshots.
    pub fn snapshots(&self, image: &str) -> Vec<String> {
        let file = self.path("rbd/rbd").join(image).join("snaps");
        let text = fs::read_to_string(file).unwrap_or_default();
        text.lines().map(|line| line.split(' ').nth(1).unwrap().to_owned()).collect()
    }

    pub fn images(&self) -> Vec<String> {
        let names = fs::read_dir(self.path("rbd/rbd")).unwrap();
        let mut names: Vec<String> =
            names.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    /// What goes wrong with rbd from now on, one thing a line (see `fakes/rbd.pl`).
    pub fn spoil(&self, fault: &str) {
        fs::write(self.path("rbd/fault"), fault).unwrap();
    }

    pub fn repair(&self) {
        fs::remove_file(self.path("rbd/fault")).unwrap();
    }

    /// Runs the program with these words; `REPO` stands for the repository, `DIR` for the test's
    /// directory.
    pub fn run(&self, words: &str) -> Said {
        self.spawn(words).ends()
    }

    /// Starts the program as a terminal does: a script that runs the tests in its background has set
    /// SIGINT aside, and so would the program.
    pub fn spawn(&self, words: &str) -> Running {
        let mut command = Command::new("/usr/bin/env");
        command.args(["--default-signal=INT,HUP", env!("CARGO_BIN_EXE_pve-ferry")]);
        self.start(command, words)
    }

    /// Starts it as nohup(1) and shells do that let it ignore a signal.
    pub fn spawn_ignoring(&self, signal: &str, words: &str) -> Running {
        let mut shell = Command::new("/bin/sh");
        let script = format!("trap '' {signal}; exec \"$@\"");
        shell.args(["-c", &script, "sh", env!("CARGO_BIN_EXE_pve-ferry")]);
        self.start(shell, words)
    }

    fn start(&self, mut command: Command, words: &str) -> Running {
        self.prepared(&mut command, words).stdin(Stdio::null());
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        Running(command.spawn().unwrap(), words.to_owned())
    }

    /// A command with these words and the test's environment.
    pub fn prepared<'a>(&self, command: &'a mut Command, words: &str) -> &'a mut Command {
        let repository = self.path("repository").display().to_string();
        let home = self.home.path().display().to_string();
        let words = words.split_whitespace();
        let words = words.map(|word| word.replace("REPO", &repository).replace("DIR", &home));
        command
            .args(words)
            .env_clear()
            .env("PATH", format!("{}:/usr/bin:/bin", self.path("bin").display()))
            .env("PVE_FERRY_ETC_PVE", self.path("etc"))
            .env("PVE_FERRY_RUN", self.path("run"))
            .env("PVE_FERRY_CRON_D", self.path("cron.d"))
            .env("PVE_FERRY_STATE", self.path("ferry-state"))
            .env("PVE_FERRY_SYSTEMD", self.path("systemd"))
            .env("FAKE_PVE_STATE", self.path("state"))
            .env("FAKE_RBD_STATE", self.path("rbd"))
            // Nothing of this machine's own must be called or remembered.
            .env("PVE_FERRY_HOOKS_D", self.path("hooks.d"))
            .env("PVE_FERRY_STATE", self.path("remembered"))
            .env("PVE_FERRY_SYSLOG", self.path("log"))
            .env("PERL5LIB", self.path("perl5"))
            .env(
                "FAKE_PVE_TEMPLATES",
                concat!(env!("CARGO_MANIFEST_DIR"), "/perl/templates/default"),
            )
            .env("SECRET_TOKEN", "hunter22")
    }

    /// The commands so far, one a line, in their order, with what differs from run to run left out.
    /// Looks at images and at freezes are left out, too: several happen at the same time. The text of
    /// a guard's program is left out.
    pub fn order(&self) -> String {
        let log = fs::read_to_string(self.path("state/log")).unwrap_or_default();
        let without_time = |line: &str| line.splitn(3, ' ').nth(2).unwrap_or_default().to_owned();
        let looks =
            ["rbd info", "rbd status", "rbd snap ls", "rbd ls", "rbd du", "ceph ", "#unit "];
        let mut lines: Vec<String> = log.lines().map(without_time).collect();
        lines.retain(|line| !looks.iter().any(|look| line.starts_with(look)));
        lines.retain(|line| !line.ends_with("fsfreeze-status"));
        for line in &mut lines {
            if let (Some(begin), Some(end)) =
                (line.find("bash -c "), line.find(" pve-ferry-guard "))
            {
                line.replace_range(begin + 8..end, "GUARD");
            }
        }
        self.redacted(&(lines.join("\n") + "\n"))
    }

    /// Forgets the commands so far.
    pub fn forget(&self) {
        fs::write(self.path("state/log"), "").unwrap();
    }

    /// No fake was called with anything that it does not know.
    pub fn assert_expected(&self) {
        let unexpected = fs::read_to_string(self.path("state/unexpected")).unwrap_or_default();
        assert_eq!(unexpected, "");
    }

    /// Waits until the log of the fakes holds this.
    pub fn wait_for(&self, text: &str) {
        let begun = Instant::now();
        let log = || fs::read_to_string(self.path("state/log")).unwrap_or_default();
        while !log().contains(text) {
            assert!(begun.elapsed() < Duration::from_secs(30), "no {text} in {}", log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// A text without what differs from run to run.
    pub fn redacted(&self, text: &str) -> String {
        let home = self.home.path().display().to_string();
        super::golden::redacted(&text.replace(&home, "DIR"))
    }

    /// Every file of the cluster, the repository and the images.
    pub fn everything(&self) -> Vec<(PathBuf, Option<Vec<u8>>)> {
        let mut all = Vec::new();
        let mut open = ["etc", "repository", "rbd/rbd"].map(|name| self.path(name)).to_vec();
        while let Some(path) = open.pop() {
            if let Ok(entries) = fs::read_dir(&path) {
                open.extend(entries.map(|entry| entry.unwrap().path()).filter(|p| !p.is_symlink()));
            }
            all.push((path.clone(), fs::read(&path).ok()));
        }
        all.sort();
        all
    }
}

/// Data with zeros and repetitions in it.
pub fn content(seed: u8) -> Vec<u8> {
    let byte = |n: usize| {
        let block = n / 4096;
        if block % 3 == 2 { 0 } else { seed ^ u8::try_from(block * 7 % 251).unwrap() }
    };
    (0..262_144).map(byte).collect()
}

/// The program while it runs, and what was typed.
pub struct Running(Child, String);

impl Running {
    pub fn pid(&self) -> nix::unistd::Pid {
        nix::unistd::Pid::from_raw(self.0.id().try_into().unwrap())
    }

    /// Waits for its end. What it printed as a document fits the schema of that document.
    pub fn ends(self) -> Said {
        let output = self.0.wait_with_output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        let said = Said {
            code: output.status.code(),
            stdout: text(output.stdout),
            stderr: text(output.stderr),
        };
        super::documents::check(&self.1, &said);
        said
    }
}
