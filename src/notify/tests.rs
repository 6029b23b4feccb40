//! What each sink is given for one report in which everything went differently.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod metrics;

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
