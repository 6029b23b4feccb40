//! Jobs of snapshots: made, run, listed, and taken over from cv4pve-autosnap's crontabs. Not the
//! jobs of a node's backups.

use crate::cluster::{Cluster, TLS, guest, three, with};
use crate::env::Env;
use serde_json::json;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;

fn cfg(cluster: &Cluster) -> String {
    fs::read_to_string(cluster.path("etc/jobs.cfg")).unwrap_or_default()
}

/// The one file in the private directory that begins like this.
fn kept(cluster: &Cluster, name: &str) -> String {
    let path = cluster.path("etc/priv").join(name);
    let mode = |path: &std::path::Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o600, 0o700));
    fs::read_to_string(path).unwrap()
}

#[test]
fn a_job_on_a_machine_that_is_no_node_keeps_its_token_to_itself() {
    let cluster = Cluster::of(vec![with(guest(100), json!({"snapshots": three()})), guest(101)]);
    let connection = format!(
        "--host {} --ca-file {TLS}/ca.pem --api-token snap@pve!cron=secret-1",
        cluster.hosts()
    );
    fs::write(cluster.path("connection"), connection).unwrap();
    let create = "job create --operation snapshot --vmid all --label daily --keep 2 --mail a@b.c";
    let said = cluster.plain(&format!("{create} @DIR/connection")).exits(0);
    said.says(&["job snapshot-daily created: snapshot on node", "every day at 00:00"]);
    assert_eq!(kept(&cluster, "api-token-1"), "snap@pve!cron=secret-1\n");
    let text = cfg(&cluster);
    let reference = format!("api-token file:{}", cluster.path("etc/priv/api-token-1").display());
    assert!(text.contains(&reference) && !text.contains("secret-1"), "{text}");
    let cron = fs::read_to_string(cluster.path("cron.d/pve-ferry")).unwrap();
    assert!(cron.contains("\n0 0 * * * root pve-ferry job run snapshot-daily --scheduled\n"));
    assert!(!cron.contains("secret-1"), "{cron}");
    // The same again is a conflict, and makes no second file.
    cluster.plain(&format!("{create} @DIR/connection")).exits(13);
    assert!(!cluster.path("etc/priv/api-token-2").exists());

    let said = cluster.plain("job run snapshot-daily --scheduled").exits(0);
    assert_eq!((said.stdout.as_str(), said.stderr.as_str()), ("", ""), "{said:#?}");
    assert_eq!((cluster.snapshots(100).len(), cluster.snapshots(101).len()), (2, 1));
    let mails = cluster.mails();
    assert!(mails[0].contains("Subject: [OK] pve-ferry snapshot create snapshot-daily on "));
    cluster.plain("job list").exits(0).says(&["snapshot-daily", " ok", "every day at 00:00"]);
    cluster.plain("job show snapshot-daily").exits(0).says(&["pve-ferry snapshot create --label"]);
    cluster.plain("status").exits(3).says(&["PVE-FERRY UNKNOWN", "no PVE node"]);
}

#[test]
fn a_failed_run_of_a_job_is_said_mailed_and_listed() {
    let failing = with(guest(100), json!({"create_fails": "quota exceeded"}));
    let cluster = Cluster::of(vec![failing, guest(101)]);
    let login = format!("--host {} --ca-file {TLS}/ca.pem", cluster.hosts());
    let create = "job create snaps --operation snapshot --vmid all --label daily --keep 2";
    let mail = "--mail a@b.c --mail-when failure --schedule hourly";
    // A file of the user's own stays where it is.
    cluster.plain(&format!("{create} {login} {mail} --api-token file:DIR/token")).exits(0);
    assert!(cfg(&cluster).contains(&format!("file:{}", cluster.path("token").display())));
    let said = cluster.plain("job run snaps --scheduled").exits(3);
    said.says(&["quota exceeded", "job snaps ended with 3: partial"]);
    assert!(cluster.mails()[0].contains("Subject: [PARTIAL] pve-ferry snapshot create snaps on "));
    cluster.plain("job list").exits(0).says(&["partial"]);
    let job = cluster.plain("job list --json").exits(0).json()["jobs"][0].clone();
    assert!(job["last_run"]["message"].as_str().unwrap().contains("quota exceeded"), "{job:#}");
    cluster.plain("job set snaps --keep 5 --delete mail,mail-when").exits(0);
    assert!(cfg(&cluster).contains("\tkeep 5\n") && !cfg(&cluster).contains("mail"));
    cluster.plain("job set snaps --keep 0").exits(2);
    cluster.plain("job set snaps --delete api-token").exits(2).complains(&["--host needs"]);
    cluster.plain("job create x --operation snapshot --vmid all --label a --host h").exits(2);
    cluster.plain("job create x --operation snapshot --vmid all").exits(2).complains(&["--label"]);
    cluster.plain("job create --operation snapshot --help").exits(0).says(&["--max-perc-storage"]);
}

#[test]
fn a_lock_that_stays_is_not_waited_for_for_ever() {
    let cluster =
        Cluster::of(vec![with(guest(100), json!({"lock": "snapshot-delete"})), guest(101)]);
    let login =
        format!("--host {} --ca-file {TLS}/ca.pem --api-token file:DIR/token", cluster.hosts());
    let create = "job create snaps --operation snapshot --vmid all --label daily --schedule";
    cluster.plain(&format!("{create} hourly {login}")).exits(0);
    let text = cfg(&cluster).replace("0 * * * *", "* * * * *").replace("hourly", "* * * * *");
    fs::write(cluster.path("etc/jobs.cfg"), text).unwrap();
    let begun = std::time::Instant::now();
    let said = cluster.plain("job run snaps --scheduled").exits(3);
    said.says(&["locked (snapshot-delete)", "qm unlock", "1 of 2 guests ok"]);
    assert!((25..55).contains(&begun.elapsed().as_secs()), "{:?}", begun.elapsed());
}

/// On a node no credentials are needed.
#[test]
fn a_job_on_a_node_works_through_pvesh_and_is_no_backup() {
    let env = Env::with_disks(1);
    env.add_guest(101, 0);
    let create = "job create --operation snapshot --vmid 100 --label hourly --keep 1";
    env.run(create).exits(0).says(&["job snapshot-hourly created", "on node pve1"]);
    let said = env.run("job run snapshot-hourly --scheduled").exits(0);
    assert_eq!((said.stdout.as_str(), said.stderr.as_str()), ("", ""), "{said:#?}");
    env.run("snapshot list --vmid 100 --label hourly").exits(0).says(&["autohourly"]);
    let said = env.run("status").exits(1);
    said.says(&["1 in no job, 1 with snapshots only, which are no backup", "snapshot-hourly"]);
    let status = env.run("status --json").exits(1).json();
    assert_eq!(status["guests"][0]["snapshot_jobs"], json!(["snapshot-hourly"]));
    assert_eq!(status["guests"][0]["jobs"], json!([]));
    env.run("job create clean --operation snapshot-prune --vmid 100 --label hourly --keep 0 --schedule weekly").exits(0);
    env.run("job run clean --scheduled").exits(0);
    let list = env.run("snapshot list --vmid 100 --label hourly -o json").exits(0).json();
    assert_eq!(list, json!([]));
    env.assert_expected();
}
