//! Who hears of a run, and that nothing about it changes what the run did.

use crate::env::{Env, Said};
use std::fs;
use std::os::unix::fs::symlink;

const BACKUP: &str = "backup --vmid 100 --label daily --path REPO --jobs 1 --threads 1";

pub fn mails(env: &Env) -> Vec<String> {
    let all = fs::read_to_string(env.path("state/mails")).unwrap_or_default();
    let mails = all.split("\n=== end of mail\n").filter(|mail| !mail.is_empty());
    mails.map(str::to_owned).collect()
}

pub fn subject(mail: &str) -> &str {
    mail.lines().find_map(|line| line.strip_prefix("Subject: ")).unwrap_or("no subject")
}

pub fn notify_cfg(env: &Env, text: &str) {
    fs::create_dir_all(env.path("etc/pve-ferry")).unwrap();
    fs::write(env.path("etc/pve-ferry/notify.cfg"), text).unwrap();
}

fn run(env: &Env, more: &str) -> Said {
    env.run(&format!("{BACKUP} {more}"))
}

#[test]
fn mail_goes_through_sendmail_with_both_parts_and_a_telling_subject() {
    let env = Env::with_guest();
    run(&env, "--mail ops@a.example,dev@b.example").exits(0);
    let all = mails(&env);
    assert_eq!(all.len(), 1, "{all:?}");
    let argv = all[0].lines().next().unwrap();
    assert!(argv.starts_with("ARGV -i -f root@"), "{argv}");
    assert!(argv.ends_with(" -- ops@a.example dev@b.example"), "{argv}");
    assert!(subject(&all[0]).starts_with("[OK] pve-ferry backup daily on "), "{}", all[0]);
    assert!(subject(&all[0]).ends_with(": 1 of 1 guests ok"), "{}", all[0]);
    for part in ["text/plain", "text/html", "Guest  Name", "web100", "frozen"] {
        assert!(all[0].contains(part), "{part} in {}", all[0]);
    }
    assert!(!all[0].contains('\u{1b}') && !all[0].contains('\r'), "{:?}", all[0]);
}

#[test]
fn the_reason_why_a_freeze_failed_stands_in_both_parts_of_the_mail() {
    let env = Env::with_guest();
    let why = "the hook of mariadb ended with 7";
    fs::write(env.path("state/100/freeze-fails"), why).unwrap();
    run(&env, "--mail a@b.example").exits(0).says(&["crash", why]);
    let all = mails(&env);
    // Long lines are broken for the way.
    let mail = all[0].replace("=\n", "");
    let (text, html) = mail.split_once("text/html").unwrap();
    assert!(text.contains(why) && html.contains(why), "{mail}");
    env.assert_expected();
}

#[test]
fn whom_only_failures_or_changes_interest_hears_only_of_them() {
    let env = Env::with_guest();
    run(&env, "--mail a@b.example --mail-when failure").exits(0);
    assert_eq!(mails(&env), [""; 0]);
    let change = "--mail a@b.example --mail-when change";
    run(&env, change).exits(0);
    assert_eq!(mails(&env).len(), 1, "the first one is a change");
    run(&env, change).exits(0);
    assert_eq!(mails(&env).len(), 1);
    env.spoil("match export-diff\nfail 2 rbd: export-diff failed\n");
    let failed = run(&env, change);
    assert_ne!(failed.code, Some(0), "{failed:?}");
    let all = mails(&env);
    assert!(all.len() == 2 && subject(&all[1]).starts_with("[FAILED] "), "{all:?}");
    run(&env, change);
    assert_eq!(mails(&env).len(), 2);
    // A change that nobody took is told at the next run.
    env.repair();
    fs::write(env.path("state/sendmail-fails"), "").unwrap();
    run(&env, change).exits(0).complains(&["warning: not told: mail to a@b.example"]);
    fs::remove_file(env.path("state/sendmail-fails")).unwrap();
    run(&env, change).exits(0);
    let all = mails(&env);
    assert!(all.len() == 3 && subject(&all[2]).starts_with("[OK"), "{all:?}");
}

#[test]
fn a_sink_that_is_down_changes_no_result_and_is_named_in_the_others() {
    let env = Env::with_guest();
    let down = "--influxurl http://127.0.0.1:1 --influxbucket pve --influxtoken env:SECRET_TOKEN";
    let said = run(&env, &format!("{down} --mail a@b.example --json")).exits(0);
    assert_eq!(said.json()["status"], "ok");
    let said = said.complains(&["warning: not told: InfluxDB at http://127.0.0.1:1"]);
    let all = mails(&env);
    assert!(all[0].contains("not told: InfluxDB at http://127.0.0.1:1"), "{}", all[0]);
    assert!(subject(&all[0]).starts_with("[OK, WARNINGS]"), "{}", all[0]);
    fs::write(env.path("state/sendmail-fails"), "").unwrap();
    let second = run(&env, &format!("{down} --mail a@b.example")).exits(0);
    let second = second.complains(&["mail to a@b.example", "queue full, said user ***"]);
    for text in [&said.stderr, &said.stdout, &second.stderr, &all[0]] {
        assert!(!text.contains("hunter22"), "{text}");
    }
}

#[test]
fn the_log_hears_of_a_mail_that_was_not_taken_though_the_program_ends_right_after_it() {
    let env = Env::with_guest();
    let log = std::os::unix::net::UnixDatagram::bind(env.path("log")).unwrap();
    log.set_nonblocking(true).unwrap();
    fs::write(env.path("state/sendmail-fails"), "").unwrap();
    for _ in 0..3 {
        // The shortest run that is told of: nothing is left to do after it.
        let words = "backup --vmid 100 --label daily --path DIR/nowhere --syslog";
        env.run(&format!("{words} --mail a@b.example")).exits(10).complains(&["not told: mail"]);
        let mut buffer = [0; 9000];
        let heard: Vec<String> = std::iter::from_fn(|| {
            let count = log.recv(&mut buffer).ok()?;
            Some(String::from_utf8_lossy(&buffer[..count]).into_owned())
        })
        .collect();
        let last = heard.last().unwrap();
        assert!(last.starts_with("<28>") && last.contains("not told: mail to a@b"), "{heard:?}");
    }
}

#[test]
fn a_run_that_could_not_even_begin_is_told_of_too() {
    let env = Env::with_guest();
    let words = "backup --vmid 100 --label daily --path DIR/nowhere --mail a@b.example";
    env.run(words).exits(10);
    let all = mails(&env);
    assert!(subject(&all[0]).starts_with("[FAILED] pve-ferry backup daily"), "{}", all[0]);
    assert!(all[0].contains("nowhere"), "{}", all[0]);
}

#[test]
fn a_job_that_breaks_off_before_its_command_begins_is_told_of() {
    let env = Env::with_guest();
    notify_cfg(&env, "mail: ops\n\tto ops@b.example\n");
    env.run("job create --vmid 100 --label daily --path REPO").exits(0);
    let file = env.path("etc/pve-ferry/jobs.cfg");
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, format!("{text}\tfrom-the-future 1\n")).unwrap();
    env.run("job run backup-daily --scheduled").exits(2);
    let all = mails(&env);
    assert_eq!(all.len(), 1);
    assert!(subject(&all[0]).starts_with("[FAILED] pve-ferry"), "{}", all[0]);
    assert!(all[0].contains("backup-daily") && all[0].contains("from-the-future"), "{}", all[0]);
    // What cannot be read of it is told by its own words, too, and nothing twice.
    let own = "\tmail me@b.example\n\tscript /none/h.sh\n";
    fs::write(&file, format!("{text}{own}\tfrom-the-future 1\n")).unwrap();
    env.run("job run backup-daily --scheduled").exits(2);
    assert!(mails(&env)[1].contains("me@b.example"));
    fs::write(&file, format!("{text}{own}")).unwrap();
    env.run("job run backup-daily --scheduled").exits(2);
    assert_eq!(mails(&env).len(), 3);
    fs::write(&file, format!("{text}\tinfluxtoken HUSH\n")).unwrap();
    env.run("job render").exits(3);
    env.run("job run backup-daily --scheduled").exits(2);
    let all = mails(&env);
    assert!(all.len() == 4 && all[3].contains("influxtoken"), "{all:?}");
    let cron = fs::read_to_string(env.path("cron.d/pve-ferry")).unwrap();
    assert!(!cron.contains("HUSH") && cron.contains("influxtoken") && !all[3].contains("HUSH"));
}

#[test]
fn a_name_is_somebody_on_this_machine_and_what_is_no_address_is_refused() {
    let env = Env::with_guest();
    run(&env, "--mail root").exits(0);
    let host = nix::unistd::gethostname().unwrap().into_string().unwrap();
    let all = mails(&env);
    assert!(all[0].contains(&format!("To: root@{host}")), "{}", all[0]);
    run(&env, "--mail a@b@c").exits(2).complains(&["\"a@b@c\" is no address"]);
    assert_eq!(mails(&env).len(), 1);
}

#[test]
fn a_dry_run_tells_nobody() {
    let env = Env::with_guest();
    run(&env, "--mail a@b.example --dry-run").exits(0);
    env.run("backup --vmid 999 --label daily --path REPO --mail a@b.example --dry-run").exits(4);
    env.run("backup --vmid 100 --label daily --path DIR/nowhere --mail a@b.example -n").exits(10);
    assert_eq!(mails(&env), [""; 0]);
}

#[test]
fn a_secret_in_clear_is_refused_before_anything_happens_and_not_repeated() {
    let env = Env::with_guest();
    let before = env.everything();
    let said = run(&env, "--influxurl http://x --influxbucket b --influxtoken hunter22").exits(2);
    let said = said.complains(&["file:PATH"]);
    assert!(!said.stderr.contains("hunter22"), "{}", said.stderr);
    assert!(env.everything() == before);
    run(&env, "--influxurl http://x --influxbucket b --influxtoken env:NO_SUCH").exits(2);
    run(&env, "--influxurl http://x").exits(2);
    let url = "--influxurl http://me:hunter22@x --influxbucket b";
    fs::write(env.path("args"), url).unwrap();
    let create = format!("job create --vmid 100 --label daily --path REPO {url}");
    for words in [format!("{BACKUP} {url}"), format!("{BACKUP} @DIR/args"), create] {
        let said = env.run(&words).exits(2).complains(&["user, password or token in it"]);
        assert!(!format!("{said:?}").contains("hunter22"), "{said:?}");
    }
    assert!(env.everything() == before);
    run(&env, "--mail-when sometimes").exits(2);
}

#[test]
fn notify_cfg_names_who_is_told_and_what_is_wrong_in_it_stops_no_backup() {
    let env = Env::with_guest();
    symlink(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fakes/perl"), env.path("perl5")).unwrap();
    fs::create_dir(env.path("metrics")).unwrap();
    let metrics = env.path("metrics").display().to_string();
    notify_cfg(
        &env,
        &format!(
            "mail: ops\n\tto ops@a.example\n\tcolour red\n\npve: default\n\n\
             prometheus: node\n\tdirectory {metrics}\n"
        ),
    );
    run(&env, "").exits(0).complains(&[
        "notify.cfg line 3: mail: ops option colour is unknown; known are to, when, from, comment",
    ]);
    assert_eq!(mails(&env).len(), 1);
    let notified = fs::read_to_string(env.path("state/notify.json")).unwrap();
    let notified: serde_json::Value = serde_json::from_str(notified.trim()).unwrap();
    assert_eq!(notified["template"], "pve-ferry");
    assert_eq!(notified["fields"]["type"], "pve-ferry");
    assert_eq!(notified["data"]["cluster-name"], "lab");
    assert_eq!(notified["data"]["guests"]["data"][0]["guest"], "100");
    let file = fs::read_to_string(env.path("metrics/pve-ferry_backup_daily.prom")).unwrap();
    let point = "pve_ferry_last_good_point_timestamp_seconds{operation=\"backup\",label=\"daily\",vmid=\"100\",name=\"web100\"} ";
    assert!(file.contains(point), "{file}");
    assert!(!file.contains("last_verified_point"), "{file}");
    env.run("verify --path REPO --label daily --mark").exits(0);
    let file = fs::read_to_string(env.path("metrics/pve-ferry_verify_daily.prom")).unwrap();
    assert!(file.contains("pve_ferry_last_verified_point_timestamp_seconds{"), "{file}");
    assert_eq!(mails(&env).len(), 2);
}

#[test]
fn an_unreadable_notify_cfg_is_said_and_changes_no_result() {
    let env = Env::with_guest();
    fs::create_dir_all(env.path("etc/pve-ferry/notify.cfg")).unwrap();
    let file = env.path("etc/pve-ferry/notify.cfg").display().to_string();
    let unread = ["warning: nobody named in notify.cfg is told: ", &*file, "Is a directory"];
    let said = run(&env, "--json").exits(0).complains(&unread);
    assert_eq!(said.json()["status"], "ok");
    assert_eq!(said.stderr.matches("nobody named").count(), 1, "{said:?}");
    assert_eq!(mails(&env), [""; 0]);
    // Who stands on the command line is told, and told of this, too.
    run(&env, "--mail a@b.example").exits(0).complains(&unread);
    let mail = mails(&env).pop().unwrap();
    assert!(subject(&mail).starts_with("[OK, WARNINGS] pve-ferry backup daily"), "{mail}");
    assert!(mail.contains("nobody named in notify.cfg is told"), "{mail}");
    // A failure stays the failure that it is.
    env.spoil("match export-diff\nfail 2 rbd: export-diff failed\n");
    let failed = run(&env, "").exits(1).complains(&unread);
    failed.says(&["export-diff failed"]);
    env.run("backup --vmid 100 --label daily --path DIR/nowhere").exits(10).complains(&unread);
}

#[test]
fn without_pve_its_notification_system_is_a_warning() {
    let env = Env::with_guest();
    notify_cfg(&env, "pve: default\n");
    let why = ["not told: PVE notification", "PVE::Notify cannot be loaded", "PVE/Notify.pm"];
    run(&env, "").exits(0).complains(&why);
}

#[test]
fn a_target_that_pve_does_not_reach_is_a_warning() {
    let env = Env::with_guest();
    symlink(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fakes/perl"), env.path("perl5")).unwrap();
    fs::write(env.path("state/dead-target"), "gotify\n").unwrap();
    notify_cfg(&env, "pve: default\n");
    let said = run(&env, "--json").exits(0).complains(&[
        "warning: not told: PVE notification: PVE did not tell all of its targets",
        "could not notify via target `gotify`: could not notify via endpoint(s): connection refused",
    ]);
    assert_eq!(said.json()["status"], "ok");
    assert!(!said.stderr.contains("notified via target `mail-to-root`"), "{}", said.stderr);
    assert!(env.path("state/notify.json").exists());
    fs::remove_file(env.path("state/dead-target")).unwrap();
    let said = run(&env, "").exits(0);
    assert!(!said.stderr.contains("PVE notification"), "{}", said.stderr);
}

#[test]
fn damage_that_verify_finds_and_points_that_prune_removes_are_told() {
    let env = Env::with_guest();
    (0..3).for_each(|_| drop(run(&env, "--renew 0").exits(0)));
    env.run("prune --path REPO --retain 1 --mail a@b.example").exits(0);
    let mail = mails(&env).pop().unwrap();
    assert!(mail.contains("Changed") && mail.contains("removed point daily"), "{mail}");
    let image = env.path("repository");
    let mut open = vec![image];
    while let Some(path) = open.pop() {
        if path.is_dir() {
            open.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        } else if path.to_string_lossy().ends_with(".rbd.zst") {
            let mut bytes = fs::read(&path).unwrap();
            let middle = bytes.len() / 2;
            bytes[middle] ^= 0xff;
            fs::write(&path, bytes).unwrap();
        }
    }
    env.run("verify --path REPO --mail a@b.example").exits(12);
    let mail = mails(&env).pop().unwrap();
    assert!(subject(&mail).starts_with("[FAILED] pve-ferry verify"), "{mail}");
    assert!(mail.contains("DAMAGED"), "{mail}");
}

#[test]
fn a_signal_while_somebody_is_told_ends_that_and_not_the_result() {
    let env = Env::with_guest();
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = silent.local_addr().unwrap();
    let words = format!("{BACKUP} --influxurl http://{address} --influxbucket pve");
    let running = env.spawn(&words);
    let (_connection, _) = silent.accept().unwrap();
    let begun = std::time::Instant::now();
    nix::sys::signal::kill(running.pid(), nix::sys::signal::Signal::SIGTERM).unwrap();
    running.ends().exits(0).complains(&["not told: InfluxDB", "interrupted"]);
    assert!(begun.elapsed() < std::time::Duration::from_secs(15), "{:?}", begun.elapsed());
}
