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

/// What is printed is a document then, and no line of it says FAILED.
#[test]
fn the_last_run_of_a_job_that_prints_json_says_which_guest_failed() {
    let failing = with(guest(100), json!({"create_fails": "quota exceeded"}));
    let cluster = Cluster::of(vec![failing, guest(101)]);
    let login = format!("--host {} --ca-file {TLS}/ca.pem", cluster.hosts());
    let create = "job create snaps --operation snapshot --vmid all --label daily --keep 2 --json";
    cluster.plain(&format!("{create} {login} --api-token file:DIR/token")).exits(0);
    cluster.plain("job run snaps --scheduled").exits(3).says(&["\"status\": \"partial\""]);
    let job = cluster.plain("job list --json").exits(0).json()["jobs"][0].clone();
    let message = job["last_run"]["message"].as_str().unwrap();
    assert!(message.starts_with("guest 100 ") && message.contains("FAILED: "), "{job:#}");
    assert!(message.contains("quota exceeded"), "{job:#}");
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

#[test]
fn autosnaps_crontab_is_taken_over_with_its_secrets_and_runs() {
    let users = json!({"snap@pve": {"password": "s3cret"}});
    let document =
        json!({"guests": [with(guest(100), json!({"snapshots": three()}))], "users": users});
    let cluster = Cluster::like(document, 1);
    let (home, hosts) = (cluster.home.path().display().to_string(), cluster.hosts());
    // As the newest and the oldest versions write it.
    fs::write(cluster.path("v2"), "v2:AQIDBAUGBwj/+T919oN2wA==\n").unwrap();
    fs::write(cluster.path("old"), "63gNcpTNA6U=").unwrap();
    let conn = format!("--host={hosts}\n# who\n--api-token snap@pve!cron=secret-1 --vmid=100\n");
    fs::write(cluster.path("conn"), conn).unwrap();
    let cron = format!(
        "SHELL=/bin/sh\n\
         0 1 * * * root /opt/cv4pve-autosnap @{home}/conn snap --label=daily --keep=3 --state >/dev/null 2>&1\n\
         0 2 * * * root cv4pve-autosnap --host={hosts} --username=snap@pve --password=s3cret --vmid=100 snap --label=plain --keep=3\n\
         0 3 * * * root cv4pve-autosnap --host={hosts} --username=snap@pve --password=file:{home}/v2 --vmid=100 snap --label=new --keep=3\n\
         #0 4 * * * root cv4pve-autosnap --host={hosts} --username=snap@pve --password=file:{home}/old --vmid=100 clean --label=old --keep=0\n\
         0 5 * * * root cv4pve-autosnap --host={hosts} --username=snap@pve --password=file:{home}/none --vmid=100 snap --label=x --keep=3\n\
         0 6 * * * root cv4pve-autosnap --host={hosts} --api-token=snap@pve!cron=secret-1 --vmid=100 snap --label=Upper --keep=3\n\
         0 7 * * * root cv4pve-autosnap --host={hosts} --api-token=snap@pve!cron=secret-1 --vmid=100 snap --label=y --keep=101x\n\
         0 8 * * * root cv4pve-autosnap --host={hosts} --api-token=snap@pve!cron=secret-1 --vmid=100 snap --label=z --keep=1 --script={home}/old\n"
    );
    fs::write(cluster.path("cron.d/autosnap"), &cron).unwrap();
    let dry = cluster.plain("job import -n").exits(3).says(&["would be job snapshot-daily"]);
    assert!(cfg(&cluster).is_empty() && !cluster.path("etc/priv").exists(), "{dry:#?}");
    let said = cluster.plain("job import").exits(3).says(&[
        "autosnap:2 (cv4pve-autosnap): is now job snapshot-daily: snapshot every day at 01:00",
        &format!("--api-token is now file:{home}/etc/priv/api-token-1"),
        &format!("--password is now file:{home}/etc/priv/password-1"),
        "nobody was verified",
        "is now job snapshot-prune-old: snapshot-prune disabled",
        "autosnap:6 (cv4pve-autosnap): NOT imported: cannot read the secret in",
        "autosnap:7 (cv4pve-autosnap): NOT imported: its label \"Upper\"",
        "autosnap:8 (cv4pve-autosnap): NOT imported: option keep is \"101x\"",
        &format!(
            "autosnap:9 (cv4pve-autosnap): NOT imported: its script {home}/old cannot be executed"
        ),
        "take them out",
    ]);
    for text in [&said.stdout, &said.stderr, &cfg(&cluster)] {
        assert!(!text.contains("s3cret") && !text.contains("secret-1"), "{text}");
    }
    assert_eq!(kept(&cluster, "api-token-1"), "snap@pve!cron=secret-1\n");
    assert_eq!(kept(&cluster, "password-1"), "s3cret\n");
    let again = cluster.plain("job import").exits(3);
    again.says(&["job snapshot-daily does the same already", "snapshot-plain does the same"]);
    assert_eq!(cluster.plain("job list --json").json()["jobs"].as_array().unwrap().len(), 4);
    assert!(!cluster.path("etc/priv/password-2").exists());

    for job in ["snapshot-daily", "snapshot-plain", "snapshot-new"] {
        cluster.plain(&format!("job run {job} --scheduled")).exits(0);
    }
    let names = cluster.snapshots(100).join(" ");
    for label in ["autoplain2", "autonew2", "autodaily260102000000"] {
        assert!(names.contains(label), "{label} in {names}");
    }
    assert!(!names.contains("autodaily260101000000"), "keep 3 was kept: {names}");
    assert_eq!(cluster.requests("vmstate=1"), 1);
    cluster.plain("job run snapshot-prune-old").exits(0);
    assert_eq!(fs::read_to_string(cluster.path("cron.d/autosnap")).unwrap(), cron);
}
