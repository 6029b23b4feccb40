//! What each sink is given for one report in which everything went differently.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::clean::clean;
use super::facts::NewestPoints;
use super::mail::{Protection, Smtp, Target as Mail, Way};
use super::{Occasion, Verdict, html, influx, prometheus, pve, text};
use crate::model::{Guest, GuestKind, Moment, SkippedDisk};
use crate::report::{Failure, GuestOutcome, Report, VolumeOutcome};
use crate::secret::Secret;
use std::collections::BTreeMap;

fn guest(vmid: u32, name: &str) -> GuestOutcome {
    GuestOutcome::new(&Guest {
        vmid: vmid.try_into().unwrap(),
        kind: GuestKind::Qemu,
        name: name.into(),
        node: "pve1".into(),
    })
}

fn volume(disk: &str, kind: &str) -> VolumeOutcome {
    VolumeOutcome {
        disk: disk.into(),
        volume: format!("ceph rbd,x=1:vm-100-disk-{disk}"),
        kind: kind.into(),
        logical_bytes: 4 << 30,
        stream_bytes: 1 << 30,
        stored_bytes: 1 << 29,
        seconds: 12.25,
    }
}

fn skip(disk: &str, by_configuration: bool) -> SkippedDisk {
    let reason = if by_configuration { "backup=0" } else { "storage nfs has no driver" };
    SkippedDisk { disk: disk.into(), reason: reason.into(), by_configuration }
}

/// Well, warned, failed, left out, half done, with everything hostile that a text can hold.
fn report() -> Report {
    let begun = Moment::from_unix(1_790_000_000);
    let mut web = guest(100, "web");
    web.point = Some(begun);
    web.consistency = Some("frozen".into());
    web.frozen_seconds = Some(0.75);
    web.volumes = vec![volume("scsi0", "base"), volume("scsi1", "increment")];
    web.skipped = vec![skip("scsi2", true)];
    let mut umlaut = guest(101, "Müller, Töchter = \"1\"\\");
    umlaut.point = Some(begun);
    umlaut.consistency = Some("crash".into());
    umlaut.frozen_seconds = Some(10.0);
    umlaut.volumes = vec![volume("scsi0", "increment")];
    umlaut.warnings =
        vec!["crash-consistent only: \u{1b}[31mthe guest did not freeze\u{1b}[0m".into()];
    let mut half = guest(102, "half");
    half.skipped = vec![skip("scsi1", false)];
    let error = "transfer ceph:vm-105-disk-0: `rbd export-diff` ended with status 2:\n<script>alert('x')</script>\nkey hunter22 is wrong; nothing was changed";
    let db = guest(105, "db").failed(Failure::Other, error.into());
    let template = guest(900, "tpl").skipped_because("it is a template".into());
    let guests = vec![web, umlaut, half, db, template];
    Report::new("backup", (begun, begun.plus_seconds(185)), guests, vec!["@pool-nowhere".into()])
}

fn occasion() -> Occasion {
    let points = NewestPoints {
        good: Some(Moment::from_unix(1_790_000_000)),
        verified: Some(Moment::from_unix(1_789_000_000)),
    };
    Occasion {
        host: "pve1".into(),
        job: None,
        label: Some("daily".into()),
        repository: Some("/mnt/my backups".into()),
        who: None,
        points: BTreeMap::from([(100.try_into().unwrap(), points)]),
    }
}

fn cleaned() -> Report {
    clean(&report(), &[Secret::new("hunter22")])
}

fn golden(name: &str, found: &str) {
    let path = format!("{}/tests/data/told/{name}", env!("CARGO_MANIFEST_DIR"));
    if std::env::var_os("UPDATE").is_some() {
        std::fs::create_dir_all(format!("{}/tests/data/told", env!("CARGO_MANIFEST_DIR"))).unwrap();
        std::fs::write(&path, found).unwrap();
    }
    let wanted = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(found, wanted, "{path}: UPDATE=1 writes it anew");
}

#[test]
fn every_rendering_is_golden_and_holds_no_secret_and_no_colour() {
    let (occasion, report) = (occasion(), cleaned());
    let lines = text::lines(&occasion, &report);
    let lines: String = lines.iter().map(|(level, line)| format!("{level:?} {line}\n")).collect();
    let pve = serde_json::to_string_pretty(&pve::message(&occasion, &report)).unwrap();
    for (name, found) in [
        ("syslog.txt", lines),
        ("mail.txt", text::body(&occasion, &report)),
        ("mail.html", html::document(&occasion, &report)),
        ("influx.txt", influx::lines(&occasion, &report)),
        ("prometheus.txt", prometheus::text(&occasion, &report, "")),
        ("pve.json", pve + "\n"),
    ] {
        assert!(!found.contains("hunter22") && !found.contains('\u{1b}'), "{name}: {found}");
        golden(name, &found);
    }
}

#[test]
fn the_log_says_what_a_person_changed_and_who_it_was() {
    let mut deleted = guest(100, "web");
    deleted.changes.push("point daily 2026-01-01T00:00:00Z of guest 100: removed".into());
    let span = (Moment::from_unix(0), Moment::from_unix(0));
    let report = Report::new("delete", span, vec![deleted], vec![]);
    let act = Occasion { who: Some("anna (as root)".into()), ..occasion() };
    let lines = text::lines(&act, &report);
    let line = |text: &str| lines.iter().find(|(_, line)| line.contains(text)).unwrap();
    let (level, removed) = line("removed");
    assert_eq!(*level, text::Severity::Info);
    assert!(removed.starts_with("delete daily: guest 100"), "{removed}");
    assert!(removed.ends_with("of guest 100: removed, by anna (as root)"), "{removed}");
    assert!(line("[OK]").1.ends_with(", by anna (as root)"), "{lines:?}");
    assert!(text::body(&act, &report).contains("by anna (as root)."));
    assert!(!text::body(&occasion(), &report).contains("by anna"));
}

#[test]
fn the_subject_says_how_many_of_how_many_and_never_ok_when_it_is_not() {
    let subject = |report: &Report| occasion().subject(report);
    assert_eq!(
        subject(&report()),
        "[PARTIAL] pve-ferry backup daily on pve1: 2 of 4 guests ok, 1 failed"
    );
    let span = (Moment::from_unix(0), Moment::from_unix(0));
    let one = |guest| Report::new("backup", span, vec![guest], vec![]);
    assert!(subject(&one(guest(100, ""))).starts_with("[OK] "));
    let mut warned = guest(100, "");
    warned.warnings.push("x".into());
    assert!(subject(&one(warned)).starts_with("[OK, WARNINGS] "));
    let failed = one(guest(100, "").failed(Failure::Locked, "x".into()));
    assert_eq!(
        subject(&failed),
        "[FAILED] pve-ferry backup daily on pve1: 0 of 1 guests ok, 1 failed"
    );
    let nothing = Report::new("backup", span, vec![], vec!["999".into()]);
    assert_eq!(subject(&nothing), "[FAILED] pve-ferry backup daily on pve1: nothing selected");
    let broken = Report::broken_off("backup", span, "repository /x is missing".into(), 10);
    assert_eq!(subject(&broken), "[FAILED] pve-ferry backup daily on pve1: nothing was done");
    assert_eq!((broken.exit_code(), Verdict::of(&broken)), (10, Verdict::Failed));
    assert!(text::body(&occasion(), &broken).contains("repository /x is missing"));
}

#[test]
fn failures_come_first_in_every_text() {
    let (occasion, report) = (occasion(), cleaned());
    let body = text::body(&occasion, &report);
    let at = |word: &str| body.find(word).unwrap_or_else(|| panic!("{word} in {body}"));
    assert!(at("Failed\n") < at("Warnings\n") && at("\n105 ") < at("\n100 "), "{body}");
    let html = html::document(&occasion, &report);
    assert!(html.find(">105<").unwrap() < html.find(">100<").unwrap(), "{html}");
    assert!(!html.contains("<script>") && html.contains("&lt;script&gt;"), "{html}");
}

#[test]
fn a_mail_has_both_parts_and_says_that_a_program_wrote_it() {
    let target = Mail {
        to: vec!["a@b.example".into(), "Ops <c@d.example>".into()],
        from: "root@pve1.example".into(),
        way: Way::Sendmail,
    };
    let message = target.message(&occasion(), &cleaned()).unwrap();
    let text = String::from_utf8(message.formatted()).unwrap();
    for part in [
        "To: a@b.example, Ops <c@d.example>",
        "Auto-Submitted: auto-generated",
        "multipart/alternative",
        "text/plain",
        "text/html",
        "Subject: [PARTIAL] pve-ferry backup daily on pve1",
    ] {
        assert!(text.contains(part), "{part} in {text}");
    }
    assert!(text.lines().all(|line| line.len() < 999), "{text}");
    let wrong = Mail { to: vec!["no address".into()], ..target };
    assert!(wrong.message(&occasion(), &cleaned()).is_err());
}

/// A reader of the line protocol that knows only what the protocol allows.
fn parsed(line: &str) -> Result<usize, String> {
    let mut at = 0;
    let mut word = |stops: &[char], escapes: bool| {
        let mut text = String::new();
        let rest: Vec<(usize, char)> = line[at..].char_indices().collect();
        let mut i = 0;
        while let Some(&(offset, c)) = rest.get(i) {
            if escapes && c == '\\' && rest.get(i + 1).is_some_and(|(_, n)| " ,=".contains(*n)) {
                text.push(rest[i + 1].1);
                i += 2;
                continue;
            }
            if stops.contains(&c) {
                at += offset + c.len_utf8();
                return (text, Some(c));
            }
            text.push(c);
            i += 1;
        }
        at = line.len();
        (text, None)
    };
    let (measurement, mut stop) = word(&[',', ' '], true);
    if measurement.is_empty() {
        return Err("no measurement".into());
    }
    while stop == Some(',') {
        let (key, equals) = word(&['=', ',', ' '], true);
        let (value, next) = word(&[',', ' ', '='], true);
        if key.is_empty() || equals != Some('=') || value.is_empty() || next == Some('=') {
            return Err(format!("tag {key}={value}"));
        }
        if value.ends_with('\\') {
            return Err(format!("tag {key} ends with a backslash"));
        }
        stop = next;
    }
    let mut fields = 0;
    loop {
        let (key, equals) = word(&['=', ',', ' '], true);
        let (value, next) = word(&[',', ' '], false);
        let number = value
            .strip_suffix('i')
            .map_or(value.parse::<f64>().is_ok(), |integer| integer.parse::<i64>().is_ok());
        if key.is_empty() || equals != Some('=') || !(number || value == "true" || value == "false")
        {
            return Err(format!("field {key}={value}"));
        }
        fields += 1;
        if next != Some(',') {
            break;
        }
    }
    let (time, end) = word(&[' '], false);
    time.parse::<i64>().map_err(|e| format!("time {time}: {e}"))?;
    if end.is_some() { Err("more after the time".into()) } else { Ok(fields) }
}

#[test]
fn every_line_for_influxdb_is_valid_in_every_case() {
    for wrong in
        ["", "a", "a b", "a,b= c=1i 1", "a,b=c c=i 1", "a c=1i", "a c=1i x", "a,b=c\\ c=1i 1"]
    {
        assert!(parsed(wrong).is_err(), "{wrong:?}");
    }
    let check = |occasion: &Occasion, report: &Report| {
        let lines = influx::lines(occasion, report);
        for line in lines.lines() {
            assert!(parsed(line).unwrap_or_else(|e| panic!("{e} in {line}")) > 3, "{line}");
        }
        lines
    };
    check(&occasion(), &report());
    let mut odd = report();
    for name in ["", " ", "a\\", "\\", "a\nb", "=,", "ü ", "\u{0}", "x\\\\ "] {
        odd.guests[0].name = name.into();
        odd.guests[0].volumes[0].volume = name.into();
        odd.guests[0].volumes[0].seconds = f64::NAN;
        check(&Occasion { job: Some(name.into()), ..occasion() }, &odd);
    }
    let span = (Moment::from_unix(0), Moment::from_unix(0));
    let empty = check(&Occasion::default(), &Report::new("prune", span, vec![], vec![]));
    assert_eq!(empty.lines().count(), 1);
}

proptest::proptest! {
    #[test]
    fn no_name_makes_a_line_that_influxdb_refuses(name in ".{0,12}", volume in "[ ,=\\\\a\"\n]{0,9}") {
        let mut report = report();
        report.guests[0].name.clone_from(&name);
        report.guests[0].volumes[0].volume = volume;
        let occasion = Occasion { job: Some(name), ..occasion() };
        for line in influx::lines(&occasion, &report).lines() {
            proptest::prop_assert!(parsed(line).is_ok(), "{:?} in {}", parsed(line), line);
        }
    }
}

#[test]
fn endpoints_of_both_versions_and_no_secret_in_a_name() {
    let target = influx::Target {
        url: "https://user:hunter22@influx.example:8086/api".into(),
        organisation: Some("my org".into()),
        bucket: "b&c".into(),
        token: Some(Secret::new("hunter22")),
        certificates: influx::Certificates::Checked,
    };
    assert_eq!(target.server(), "https://influx.example:8086");
    assert!(
        target
            .endpoint()
            .ends_with("@influx.example:8086/api/v2/write?org=my%20org&bucket=b%26c&precision=s")
    );
    let old = influx::Target { organisation: None, url: "http://influx:8086/".into(), ..target };
    assert_eq!(old.endpoint(), "http://influx:8086/write?db=b%26c&precision=s");
    assert!(!format!("{old:?}").contains("hunter22"));
}

/// Posts to a server that answers so; gives what it heard and what became of it.
fn posted(answer: &'static str, organisation: Option<&str>) -> (String, Option<String>) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let server = std::thread::spawn(move || {
        use std::io::{Read as _, Write as _};
        let (mut stream, _) = listener.accept().unwrap();
        let mut heard = vec![0; 64 << 10];
        let mut text = String::new();
        while !text.contains("crossover_jobs") {
            let count = stream.read(&mut heard).unwrap();
            text.push_str(&String::from_utf8_lossy(&heard[..count]));
        }
        stream.write_all(answer.as_bytes()).unwrap();
        text
    });
    let target = influx::Target {
        url: format!("http://{address}"),
        organisation: organisation.map(str::to_owned),
        bucket: "pve".into(),
        token: Some(Secret::new("user:hunter22")),
        certificates: influx::Certificates::Checked,
    };
    let told = target.tell(&influx::lines(&occasion(), &cleaned()));
    (server.join().unwrap(), told.err().map(|error| error.to_string()))
}

#[test]
fn a_server_that_refuses_is_quoted_and_gets_its_own_form_of_the_token() {
    let refusal =
        "HTTP/1.1 400 Bad Request\r\nContent-Length: 27\r\n\r\n{\"error\":\"unable to parse\"}";
    let (heard, error) = posted(refusal, None);
    let error = error.unwrap();
    assert!(error.contains("400") && error.contains("unable to parse"), "{error}");
    assert!(!error.contains("hunter22"), "{error}");
    // base64 of user:hunter22
    assert!(heard.contains("Basic dXNlcjpodW50ZXIyMg=="), "{heard}");
    assert!(heard.starts_with("POST /write?db=pve&precision=s HTTP/1.1"), "{heard}");
    let (heard, error) = posted("HTTP/1.1 204 No Content\r\n\r\n", Some("lab"));
    assert_eq!(error, None);
    assert!(heard.contains("Token user:hunter22"), "{heard}");
    let path = "POST /api/v2/write?org=lab&bucket=pve&precision=s HTTP/1.1";
    assert!(heard.starts_with(path), "{heard}");
    // A token does not follow to where a server points.
    let elsewhere =
        "HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n";
    let (_, error) = posted(elsewhere, None);
    assert!(error.unwrap().contains("302"));
}

#[tokio::test]
async fn a_mail_server_that_is_not_there_is_an_error_that_names_it() {
    let smtp = Smtp {
        host: "127.0.0.1".into(),
        port: Some(1),
        protection: Protection::StartTls,
        login: Some(("u".into(), Secret::new("hunter22"))),
        authority: None,
    };
    let target = Mail {
        to: vec!["a@b.example".into()],
        from: "root@x.example".into(),
        way: Way::Smtp(smtp),
    };
    let error = target.tell(&occasion(), &cleaned()).await.unwrap_err();
    assert!(error.to_string().contains("127.0.0.1:1"), "{error}");
    let all = format!("{target:?} {:#}", anyhow::Error::from(error));
    assert!(!all.contains("hunter22"), "{all}");
}

#[test]
fn the_metrics_file_is_replaced_as_a_whole() {
    let dir = tempfile::tempdir().unwrap();
    let target = prometheus::Target { directory: dir.path().to_owned() };
    target.tell(&occasion(), &cleaned()).unwrap();
    target.tell(&occasion(), &cleaned()).unwrap();
    let names: Vec<_> =
        std::fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(names, ["pve-ferry_backup_daily.prom"]);
    let gone = prometheus::Target { directory: dir.path().join("nowhere") };
    assert!(gone.tell(&occasion(), &cleaned()).unwrap_err().to_string().contains("nowhere"));
}

#[test]
fn only_the_files_of_jobs_that_are_gone_are_removed() {
    let dir = tempfile::tempdir().unwrap();
    let target = prometheus::Target { directory: dir.path().to_owned() };
    let of_job = |job: &str| Occasion { job: Some(job.into()), ..occasion() };
    let span = (Moment::from_unix(1), Moment::from_unix(2));
    for (operation, job) in
        [("backup", "gone"), ("backup", "here"), ("verify", "here"), ("snapshot prune", "x_y-z")]
    {
        let report = Report::new(operation, span, vec![guest(100, "a\",job=\"gone")], vec![]);
        target.tell(&of_job(job), &report).unwrap();
    }
    // Without a job, and with a label that looks like one.
    target.tell(&Occasion { job: None, ..occasion() }, &cleaned()).unwrap();
    let text = prometheus::text(&of_job("gone"), &cleaned(), "");
    let other = "pve-ferry_backup_other.prom";
    for (name, text) in [
        (other, text.as_str()),
        ("backup_gone.prom", &text),
        ("pve-ferry_backup_gone.prom.4711", &text),
        (
            "pve-ferry_verify_gone.prom",
            "pve_ferry_run_timestamp_seconds{operation=\"verify\",job=\"gone\"} 1\n",
        ),
        ("pve-ferry_copy_gone.prom", "# HELP pve_ferry_run_timestamp_seconds x\n# nothing\n"),
        ("pve-ferry_sync_gone.prom", ""),
    ] {
        std::fs::write(dir.path().join(name), text).unwrap();
    }
    let away = dir.path().join("away");
    std::fs::write(&away, prometheus::text(&of_job("link"), &cleaned(), "")).unwrap();
    std::os::unix::fs::symlink(&away, dir.path().join("pve-ferry_backup_link.prom")).unwrap();
    let names = || {
        let entries = std::fs::read_dir(dir.path()).unwrap();
        let mut names: Vec<String> =
            entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    };
    let before = names();
    let asked = std::cell::RefCell::new(Vec::new());
    let problems = target.remove_stale(&|operation, job| {
        asked.borrow_mut().push(format!("{operation} {job}"));
        (operation, job) == ("backup", "here")
    });
    assert!(problems.is_empty(), "{problems:?}");
    let mut asked = asked.into_inner();
    asked.sort();
    assert_eq!(asked, ["backup gone", "backup here", "snapshot prune x_y-z", "verify here"]);
    let gone = ["backup_gone", "snapshot_prune_x_y-z", "verify_here"];
    let gone = gone.map(|name| format!("pve-ferry_{name}.prom"));
    let left: Vec<String> = before.into_iter().filter(|name| !gone.contains(name)).collect();
    assert_eq!(names(), left);
    let nowhere = prometheus::Target { directory: dir.path().join("nowhere") };
    assert!(nowhere.remove_stale(&|_, _| false).is_empty());
}

#[test]
fn an_age_does_not_vanish_when_the_repository_does() {
    let (occasion, report) = (occasion(), cleaned());
    let first = prometheus::text(&occasion, &report, "");
    let points = |text: &str| {
        let of = |line: &&str| line.starts_with("pve_ferry_last_");
        text.lines().filter(of).map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(points(&first).len(), 2, "{first}");
    let unknown = Occasion { points: BTreeMap::new(), ..occasion.clone() };
    let span = (report.started, report.finished);
    let broken = Report::broken_off("backup", span, "repository is missing".into(), 10);
    for next in [&report, &broken] {
        let text = prometheus::text(&unknown, next, &first);
        assert_eq!(points(&text), points(&first), "{text}");
    }
    // What is known now replaces what was; a guest that is no longer asked for goes.
    assert_eq!(points(&prometheus::text(&occasion, &report, &first)), points(&first));
    let other = Report::new("backup", span, vec![guest(101, "")], vec![]);
    assert_eq!(points(&prometheus::text(&unknown, &other, &first)), [""; 0]);
}

#[test]
fn snapshots_are_told_of_in_words_that_fit_them() {
    let mut web = guest(100, "web");
    web.changes = vec!["made snapshot autodaily1".into(), "removed snapshot autodaily0".into()];
    let span = (Moment::from_unix(1_790_000_000), Moment::from_unix(1_790_000_012));
    let report = Report::new("snapshot create", span, vec![web], vec![]);
    let occasion = Occasion { label: Some("daily".into()), ..Occasion::default() };
    let body = text::body(&occasion, &report);
    for part in ["snapshot create daily: 1 of 1 guests ok", "(12 s), 2 changes.", "\nChanged\n"] {
        assert!(body.contains(part), "{part} in {body}");
    }
    let html = html::document(&occasion, &report);
    let pve = pve::message(&occasion, &report).to_string();
    for text in [&body, &html, &pve] {
        assert!(text.contains("Status") && !text.contains("Stored"), "{text}");
        assert!(!text.contains("volumes"), "{text}");
    }
}
