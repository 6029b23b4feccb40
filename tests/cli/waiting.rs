//! A job's run that waits, one that is left out and one that cannot read its job: who sees it, and
//! when. What a terminal is shown of a wait, and how waits are stopped, is in `jobs`.

use crate::cluster::{Cluster, TLS, guest, with};
use crate::env::{Env, Running, Said};
use serde_json::{Value, json};
use std::fs;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::time::{Duration, Instant};

fn silent(said: &Said) {
    assert_eq!((said.stdout.as_str(), said.stderr.as_str()), ("", ""), "{said:#?}");
}

/// The system's log, as far as it can be heard from now on.
struct Log(UnixDatagram);

impl Log {
    fn at(path: &Path) -> Self {
        let socket = UnixDatagram::bind(path).unwrap();
        socket.set_nonblocking(true).unwrap();
        Self(socket)
    }

    /// The lines since the last look that hold this.
    fn lines(&self, part: &str) -> Vec<String> {
        let mut buffer = [0; 9000];
        let heard = std::iter::from_fn(|| {
            let count = self.0.recv(&mut buffer).ok()?;
            Some(String::from_utf8_lossy(&buffer[..count]).into_owned())
        });
        heard.filter(|line| line.contains(part)).collect()
    }
}

/// A job in `job list --json`, once it fits.
fn job_once(list: impl Fn() -> Value, name: &str, fits: impl Fn(&Value) -> bool) -> Value {
    let begun = Instant::now();
    loop {
        let jobs = list()["jobs"].as_array().unwrap().clone();
        let job = jobs.into_iter().find(|job| job["name"] == name).unwrap();
        if fits(&job) {
            return job;
        }
        assert!(begun.elapsed() < Duration::from_secs(30), "{job:#}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn waits(job: &Value) -> bool {
    job["running"] == true && job["last_run"]["waiting"].is_array()
}

/// Two jobs for one guest, and a first run that goes on until it is let go.
fn two_jobs(env: &Env) {
    for label in ["daily", "hourly"] {
        let words = format!("job create --vmid 100 --label {label} --path REPO");
        env.run(&format!("{words} --jobs 1 --threads 1")).exits(0);
    }
}

fn notify_cfg(env: &Env, text: &str) {
    fs::write(env.path("etc/pve-ferry/notify.cfg"), text).unwrap();
}

fn mails(env: &Env) -> Vec<String> {
    let all = fs::read_to_string(env.path("state/mails")).unwrap_or_default();
    let mails = all.split("\n=== end of mail\n").filter(|mail| !mail.is_empty());
    mails.map(str::to_owned).collect()
}

#[test]
fn a_run_that_waits_stands_in_the_list_and_the_log_with_its_holder_until_the_wait_ends() {
    let env = Env::with_disks(1);
    two_jobs(&env);
    let log = Log::at(&env.path("log"));
    env.spoil("match export-diff\npause 6\nonce\n");
    let first = env.spawn("job run backup-daily --scheduled");
    let holder = first.pid().as_raw();
    env.wait_for("export-diff");
    let second = env.spawn("job run backup-hourly --scheduled");
    let list = || env.run("job list --json").exits(0).json();
    let job = job_once(list, "backup-hourly", waits);
    let wait = &job["last_run"]["waiting"][0];
    let host = nix::unistd::gethostname().unwrap().into_string().unwrap();
    let known = json!({"what": "backup", "job": "backup-daily", "host": host, "pid": holder,
        "since": wait["holder"]["since"]});
    assert_eq!(wait["holder"], known, "{job:#}");
    assert!(wait["since"].is_string() && wait["holder"]["since"].is_string(), "{wait:#}");
    assert!(wait["object"].as_str().unwrap().starts_with(env.path("repository").to_str().unwrap()));
    let text = env.run("job list").exits(0);
    let who = format!("backup on host {host} (job backup-daily, process {holder}) since ");
    text.says(&[", waits", "job backup-hourly has waited since ", &format!(" for {who}")]);
    // Who holds it waits for nobody.
    let other = job_once(list, "backup-daily", |job| job["running"] == true);
    assert_eq!(other["last_run"]["waiting"], Value::Null);
    let lines = log.lines("waits for");
    assert_eq!(lines.len(), 1, "{lines:?}");
    let line = format!("job backup-hourly waits for {who}");
    assert!(lines[0].starts_with("<30>") && lines[0].contains(&line), "{lines:?}");
    silent(&first.ends().exits(0));
    silent(&second.ends().exits(0));
    assert_eq!(log.lines("waits for"), [""; 0], "it is said once");
    let job = job_once(list, "backup-hourly", |job| job["running"] == false);
    assert_eq!(job["last_run"]["waiting"], Value::Null);
    let noted = fs::read_to_string(env.path("remembered/jobs/backup-hourly.json")).unwrap();
    assert!(!noted.contains("waiting"), "{noted}");
}

/// A run that works, and one that waits for it.
fn one_waits(env: &Env) -> (Running, Running) {
    two_jobs(env);
    env.spoil("match export-diff\npause 6\nonce\n");
    let first = env.spawn("job run backup-daily --scheduled");
    env.wait_for("export-diff");
    (first, env.spawn("job run backup-hourly --scheduled"))
}

#[test]
fn a_run_that_is_killed_while_it_waits_waits_no_more() {
    let env = Env::with_disks(1);
    let (first, second) = one_waits(&env);
    let list = || env.run("job list --json").exits(0).json();
    job_once(list, "backup-hourly", waits);
    nix::sys::signal::kill(second.pid(), nix::sys::signal::SIGKILL).unwrap();
    assert_eq!(second.ends().code, None);
    let noted = fs::read_to_string(env.path("remembered/jobs/backup-hourly.json")).unwrap();
    assert!(noted.contains("waiting"), "nobody was there to take it back: {noted}");
    let job = job_once(list, "backup-hourly", |job| job["running"] == false);
    assert_eq!(job["last_run"]["waiting"], Value::Null);
    let said = env.run("job list").exits(0).says(&["did not end"]);
    assert!(!said.stdout.contains("wait"), "{said:#?}");
    silent(&first.ends().exits(0));
    silent(&env.run("job run backup-hourly --scheduled").exits(0));
}

#[test]
fn a_run_of_snapshots_that_waits_for_pve_says_so_too() {
    let locked = json!({"lock": "backup", "locked_for": 6});
    let cluster = Cluster::of(vec![with(guest(100), locked)]);
    let log = Log::at(&cluster.path("syslog"));
    let login =
        format!("--host {} --ca-file {TLS}/ca.pem --api-token file:DIR/token", cluster.hosts());
    let create = "job create snaps --operation snapshot --vmid all --label daily --keep 2";
    cluster.plain(&format!("{create} {login}")).exits(0);
    let list = || cluster.plain("job list --json").exits(0).json();
    std::thread::scope(|scope| {
        let run = scope.spawn(|| cluster.plain("job run snaps --scheduled"));
        let job = job_once(list, "snaps", waits);
        let wait = &job["last_run"]["waiting"][0];
        assert_eq!(wait["object"], "guest 100 web100 on pve1");
        let unknown = json!({"what": "PVE (backup)", "job": null, "host": null, "pid": null,
            "since": null});
        assert_eq!(wait["holder"], unknown);
        let text = " for PVE (backup), which holds guest 100 web100 on pve1";
        cluster.plain("job list").exits(0).says(&["job snaps has waited since ", text]);
        silent(&run.join().unwrap().exits(0));
    });
    assert_eq!(log.lines("job snaps waits for PVE (backup)").len(), 1);
    assert_eq!(list()["jobs"][0]["last_run"]["waiting"], Value::Null);
}

#[test]
fn a_scheduled_run_that_is_left_out_is_told_each_time() {
    let env = Env::with_disks(1);
    two_jobs(&env);
    notify_cfg(&env, "mail: ops\n\tto ops@b.example\n\twhen failure\n\nsyslog: default\n");
    let log = Log::at(&env.path("log"));
    env.spoil("match export-diff\npause 8\nonce\n");
    let first = env.spawn("job run backup-daily --scheduled");
    env.wait_for("export-diff");
    for n in 1..=2 {
        env.run("job run backup-daily --scheduled").exits(11).complains(&["still under way"]);
        let all = mails(&env);
        assert_eq!(all.len(), n, "{all:?}");
        let mail = &all[n - 1];
        assert!(mail.contains("Subject: [FAILED] pve-ferry backup backup-daily on "), "{mail}");
        assert!(mail.contains("its last run on this node is still under way (since 2"), "{mail}");
        let lines = log.lines("still under way");
        assert!(lines.len() == 1 && lines[0].starts_with("<27>"), "{lines:?}");
    }
    // A person sees it and needs no mail.
    env.run("job run backup-daily").exits(11).complains(&["still under way"]);
    assert_eq!(mails(&env).len(), 2);
    silent(&first.ends().exits(0));
    assert_eq!(mails(&env).len(), 2, "a good run is none of the failures that are mailed");
}

#[test]
fn a_run_that_is_left_out_tells_for_whom_the_last_one_waits() {
    let env = Env::with_disks(1);
    let (first, second) = one_waits(&env);
    job_once(|| env.run("job list --json").json(), "backup-hourly", waits);
    let said = env.run("job run backup-hourly --scheduled").exits(11);
    said.complains(&[", waiting since 2", " for backup on host ", "(job backup-daily, process "]);
    silent(&first.ends().exits(0));
    silent(&second.ends().exits(0));
}

#[test]
fn a_section_that_cannot_be_read_is_told_by_each_run() {
    let env = Env::with_disks(1);
    two_jobs(&env);
    notify_cfg(&env, "mail: ops\n\tto ops@b.example\n");
    let file = env.path("etc/pve-ferry/jobs.cfg");
    let text = fs::read_to_string(&file).unwrap().replace("schedule daily", "schedule sometimes");
    fs::write(&file, text).unwrap();
    for n in 1..=2 {
        env.run("job run backup-daily --scheduled").exits(2).complains(&["sometimes"]);
        assert_eq!(mails(&env).len(), n);
    }
    assert!(mails(&env)[1].contains("Subject: [FAILED] pve-ferry job backup-daily on "));
    env.run("job run --vmid 100 --label daily --scheduled").exits(4);
    assert!(mails(&env)[2].contains("Subject: [FAILED] pve-ferry job 100 daily on "));
    silent(&env.run("job run backup-hourly --scheduled").exits(0));
}

#[test]
fn a_run_that_cannot_be_noted_does_not_begin_and_is_told() {
    let env = Env::with_disks(1);
    two_jobs(&env);
    notify_cfg(&env, "mail: ops\n\tto ops@b.example\n");
    fs::write(env.path("remembered"), "a full disk would do the same").unwrap();
    env.run("job run backup-daily --scheduled").exits(1).complains(&["cannot write"]);
    let all = mails(&env);
    assert!(all.len() == 1 && all[0].contains("cannot write"), "{all:?}");
}

#[test]
fn jobs_that_cannot_be_read_at_all_are_told_once_until_they_can() {
    let env = Env::with_disks(1);
    two_jobs(&env);
    notify_cfg(&env, "mail: ops\n\tto ops@b.example\n\twhen change\n");
    let log = Log::at(&env.path("log"));
    let (file, away) = (env.path("etc/pve-ferry/jobs.cfg"), env.path("jobs.cfg"));
    let spoil = || {
        fs::rename(&file, &away).unwrap();
        fs::create_dir(&file).unwrap();
    };
    let mend = || {
        fs::remove_dir(&file).unwrap();
        fs::rename(&away, &file).unwrap();
    };
    spoil();
    // A mail that is not taken is tried again; the log, which heard it, is left alone.
    fs::write(env.path("state/sendmail-fails"), "").unwrap();
    let unread = ["jobs.cfg", "Is a directory"];
    let said = env.run("job run backup-daily --scheduled").exits(1).complains(&unread);
    said.complains(&["warning: not told: mail to ops@b.example"]);
    assert_eq!(log.lines("no job runs on this node: cannot read").len(), 1);
    fs::remove_file(env.path("state/sendmail-fails")).unwrap();
    env.run("job run backup-hourly --scheduled").exits(1).complains(&unread);
    let all = mails(&env);
    assert_eq!((all.len(), log.lines("no job runs")), (1, vec![]), "{all:?}");
    assert!(all[0].contains("Subject: [FAILED] pve-ferry job run on "), "{}", all[0]);
    assert!(all[0].contains("no job runs on this node: cannot read "), "{}", all[0]);
    // Now everybody has heard, whichever job it is that does not run.
    for name in ["backup-daily", "backup-hourly", "backup-daily"] {
        silent(&env.run(&format!("job run {name} --scheduled")).exits(1));
    }
    // Nor does the look that cron makes every five minutes say it each time.
    silent(&env.run("job render --quiet").exits(1));
    // A person asks and gets an answer.
    env.run("job run backup-daily").exits(1).complains(&unread);
    env.run("job render").exits(1).complains(&unread);
    assert_eq!((mails(&env).len(), log.lines("")), (1, vec![]));
    mend();
    silent(&env.run("job run backup-daily --scheduled").exits(0));
    assert_eq!(log.lines("jobs.cfg can be read again").len(), 1);
    silent(&env.run("job run backup-daily --scheduled").exits(0));
    assert_eq!(log.lines("jobs.cfg can be read again"), [""; 0]);
    let before = mails(&env).len();
    spoil();
    env.run("job run backup-daily --scheduled").exits(1).complains(&unread);
    assert_eq!((mails(&env).len(), log.lines("no job runs").len()), (before + 1, 1));
    mend();
    silent(&env.run("job render --quiet").exits(0));
    assert_eq!(log.lines("jobs.cfg can be read again").len(), 1);
    spoil();
    env.run("job render --quiet").exits(1).complains(&unread);
    assert_eq!((mails(&env).len(), log.lines("no job runs").len()), (before + 2, 1));
}

#[test]
fn where_notify_cfg_is_away_as_well_the_log_hears_it_once() {
    let env = Env::with_disks(1);
    two_jobs(&env);
    notify_cfg(&env, "mail: ops\n\tto ops@b.example\n");
    fs::rename(env.path("etc"), env.path("etc-away")).unwrap();
    fs::create_dir(env.path("etc")).unwrap();
    // Without a log there is nobody but cron, which hears it each time.
    for _ in 0..2 {
        let said = env.run("job run backup-daily --scheduled").exits(1);
        said.complains(&["not mounted", "warning: nobody named in notify.cfg is told"]);
    }
    let log = Log::at(&env.path("log"));
    env.run("job run backup-daily --scheduled").exits(1).complains(&["not mounted"]);
    let lines = log.lines("not mounted");
    assert!(lines.iter().any(|line| line.contains("no job runs on this node")), "{lines:?}");
    silent(&env.run("job run backup-daily --scheduled").exits(1));
    assert_eq!((log.lines(""), mails(&env).len()), (vec![], 0));
}
