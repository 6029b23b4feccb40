//! A cluster that answers over HTTPS, for tests on a machine that is no node. Checks nothing but
//! that every request is one of PVE's.

use crate::env::Said;
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// A cluster that answers over HTTPS.
pub struct Cluster {
    pub home: TempDir,
    double: Child,
    pub ports: Vec<String>,
}

pub const TLS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/tls");

/// A running machine with one disk on storage `ceph`.
pub fn guest(vmid: u32) -> Value {
    json!({
        "vmid": vmid, "type": "qemu", "node": "pve1", "name": format!("web{vmid}"),
        "status": "running", "template": 0, "snapshots": [],
        "config": {"agent": "1", "scsi0": format!("ceph:vm-{vmid}-disk-0,size=4G")},
    })
}

pub fn snapshot(name: &str, taken: i64) -> Value {
    json!({"name": name, "snaptime": taken, "description": "cv4pve-autosnap\n", "vmstate": 0})
}

/// The guest with these members changed.
pub fn with(mut guest: Value, changes: Value) -> Value {
    let Value::Object(changes) = changes else { panic!("an object") };
    guest.as_object_mut().unwrap().extend(changes);
    guest
}

pub fn three() -> Value {
    json!([
        snapshot("autodaily260101000000", 1000),
        snapshot("autodaily260102000000", 2000),
        snapshot("autodaily260103000000", 3000)
    ])
}

impl Cluster {
    pub fn of(guests: Vec<Value>) -> Self {
        Self::like(json!({"guests": guests}), 1)
    }

    pub fn like(mut document: Value, hosts: usize) -> Self {
        let home = tempfile::tempdir().unwrap();
        let given = document.as_object_mut().unwrap();
        given.insert("token".into(), "snap@pve!cron=secret-1".into());
        given.entry("storages").or_insert_with(
            || json!([{"node": "pve1", "storage": "ceph", "disk": 10u64 << 30, "maxdisk": 100u64 << 30}]),
        );
        fs::write(home.path().join("cluster.json"), document.to_string()).unwrap();
        fs::write(home.path().join("token"), "snap@pve!cron=secret-1\n").unwrap();
        // What everybody could read would be warned of.
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        fs::set_permissions(home.path().join("token"), mode).unwrap();
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        for directory in ["bin", "cron.d"] {
            fs::create_dir(home.path().join(directory)).unwrap();
        }
        symlink(root.join("tests/cli/fakes/sendmail"), home.path().join("bin/sendmail")).unwrap();
        let double = root.join("tests/fakes/pve_https.py");
        let double = Command::new(double)
            .arg(home.path())
            .arg(hosts.to_string())
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        let begun = Instant::now();
        let ports = loop {
            if let Ok(text) = fs::read_to_string(home.path().join("ports")) {
                break text.split(' ').map(str::to_owned).collect();
            }
            assert!(begun.elapsed() < Duration::from_secs(60), "the double does not listen");
            std::thread::sleep(Duration::from_millis(20));
        };
        Self { home, double, ports }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    pub fn hosts(&self) -> String {
        let hosts: Vec<String> = self.ports.iter().map(|p| format!("localhost:{p}")).collect();
        hosts.join(",")
    }

    /// Runs `pve-ferry snapshot` with a token and the right certificate.
    pub fn run(&self, words: &str) -> Said {
        let login =
            format!("--host {} --api-token file:DIR/token --ca-file {TLS}/ca.pem", self.hosts());
        self.plain(&format!("snapshot {words} {login}"))
    }

    /// Runs the program; `DIR` stands for the test's directory.
    pub fn plain(&self, words: &str) -> Said {
        let home = self.home.path().display().to_string();
        let typed = words;
        let words = words.split_whitespace().map(|word| word.replace("DIR", &home));
        let mut command = Command::new(env!("CARGO_BIN_EXE_pve-ferry"));
        let output = self.prepared(command.args(words)).stdin(Stdio::null()).output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        let said = Said {
            code: output.status.code(),
            stdout: text(output.stdout),
            stderr: text(output.stderr),
        };
        crate::documents::check(typed, &said);
        said
    }

    /// Gives a program the environment of a machine that is no PVE node.
    pub fn prepared<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        command
            .env_clear()
            .env("PATH", format!("{}:/usr/bin:/bin", self.path("bin").display()))
            .env("PVE_FERRY_ETC_PVE", self.path("no-node"))
            .env("PVE_FERRY_ETC", self.path("etc"))
            .env("PVE_FERRY_CRON_D", self.path("cron.d"))
            .env("PVE_FERRY_SYSLOG", self.path("syslog"))
            .env("PVE_FERRY_HOOKS_D", self.path("hooks.d"))
            .env("PVE_FERRY_STATE", self.path("remembered"))
            .env("PVE_FERRY_SYSTEMD", self.path("systemd"))
            .env("FAKE_PVE_STATE", self.home.path())
    }

    /// The mails that were sent.
    pub fn mails(&self) -> Vec<String> {
        let all = fs::read_to_string(self.path("mails")).unwrap_or_default();
        let mails = all.split("\n=== end of mail\n").filter(|mail| !mail.is_empty());
        mails.map(str::to_owned).collect()
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.path("log")).unwrap_or_default()
    }

    /// How many requests had this in them.
    pub fn requests(&self, part: &str) -> usize {
        self.log().lines().filter(|line| line.contains(part)).count()
    }

    /// A guest as it is now.
    pub fn guest(&self, vmid: u32) -> Value {
        // The double writes what it has when it was last asked.
        let text = fs::read_to_string(self.path("cluster.now")).unwrap();
        let now: Value = serde_json::from_str(&text).unwrap();
        now["guests"].as_array().unwrap().iter().find(|g| g["vmid"] == vmid).unwrap().clone()
    }

    pub fn snapshots(&self, vmid: u32) -> Vec<String> {
        let guest = self.guest(vmid);
        let names = guest["snapshots"].as_array().unwrap().iter();
        names.map(|entry| entry["name"].as_str().unwrap().to_owned()).collect()
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let _ = self.double.kill();
        let _ = self.double.wait();
        let unexpected = fs::read_to_string(self.path("unexpected")).unwrap_or_default();
        if !std::thread::panicking() {
            assert_eq!(unexpected, "", "PVE has no such request");
        }
    }
}
