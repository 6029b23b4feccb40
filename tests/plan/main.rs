//! Golden plans: facts and policy as text in, the printed plan (or the refusal) as text out.
//!
//! A case is a file in `cases/`: a story in comment lines, facts, a line `---`, the expected text.
//! `UPDATE=1 cargo test --test plan` rewrites the expectations; read the difference before you
//! commit it. Every plan that comes out is linted, too.
// A test that cannot read what it checks has failed: a panic says so.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
// A helper of a test may fail as loudly as the test itself.

mod adopt_facts;
mod backup_facts;
mod compare_facts;
mod copy_facts;
mod notation;
mod point_facts;
mod prepare_facts;
mod prune_facts;
mod repair_facts;
mod reset_facts;
mod restore_facts;
mod rules;
mod snapshot_facts;
mod verify_facts;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

fn cases() -> Vec<PathBuf> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/plan/cases");
    let mut paths: Vec<PathBuf> =
        std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}

fn outcome(facts: &str) -> String {
    let lines = notation::lines(facts);
    let plan = match lines.first().map(|line| line[0].as_str()) {
        Some("restore") => {
            let (facts, policy) = restore_facts::read(&lines);
            pve_ferry::plan::restore::plan(&facts, &policy).map_err(|e| e.to_string())
        }
        Some("adopt") => {
            let (facts, label) = adopt_facts::read(&lines);
            pve_ferry::plan::adopt::plan(&facts, &label).map_err(|e| e.to_string())
        }
        Some("prepare") => {
            let plan = pve_ferry::plan::prepare::plan(prepare_facts::read(&lines));
            plan.ok_or_else(|| "nothing is missing".to_owned())
        }
        Some("repair") => {
            let (facts, tried) = repair_facts::read(&lines);
            Ok(pve_ferry::plan::repair::plan(&facts, &tried))
        }
        Some("verify") => Ok(pve_ferry::plan::verify::plan(&verify_facts::read(&lines))),
        Some("assemble") => {
            let facts = verify_facts::read_assembled(&lines);
            pve_ferry::plan::assemble::plan(&facts).map_err(|e| e.to_string())
        }
        Some("compare") => {
            let (facts, policy) = compare_facts::read(&lines);
            Ok(pve_ferry::plan::compare::plan(&facts, &policy))
        }
        Some("compared") => {
            let (guest, points) = compare_facts::read_compared(&lines);
            let plan = pve_ferry::plan::compare::mark(guest, points);
            plan.ok_or_else(|| "nothing could be compared".to_owned())
        }
        Some("found") => Ok(pve_ferry::plan::verify::mark(&verify_facts::read_found(&lines))),
        Some("reset") => {
            let (facts, policy) = reset_facts::read(&lines);
            pve_ferry::plan::reset::plan(&facts, &policy).map_err(|e| e.to_string())
        }
        Some("delete" | "protect" | "unprotect") => {
            let (facts, act) = point_facts::read(&lines);
            pve_ferry::plan::point::plan(&facts, &act).map_err(|e| e.to_string())
        }
        Some("copy") => {
            let (facts, policy) = copy_facts::read(&lines);
            pve_ferry::plan::copy::plan(&facts, &policy).map_err(|e| e.to_string())
        }
        Some("snapshots") => snapshot_facts::outcome(&lines),
        Some("prune") => {
            let (facts, policy) = prune_facts::read(&lines);
            Ok(pve_ferry::plan::prune::plan(&facts, &policy))
        }
        _ => {
            let (facts, policy) = backup_facts::read(&lines);
            let refused = |reason: pve_ferry::plan::backup::NoBackup| {
                let recovery = pve_ferry::plan::backup::recovery_alone(&facts);
                format!("{reason}{}", recovery.map(|p| format!("\n{p}")).unwrap_or_default())
            };
            pve_ferry::plan::backup::plan(&facts, &policy).map_err(refused)
        }
    };
    match plan {
        Err(refusal) => format!("refused: {refusal}\n"),
        Ok(plan) => {
            pve_ferry::plan::check::check(&plan).expect("every plan passes the linter");
            plan.to_string()
        }
    }
}

#[test]
fn every_case_gives_the_plan_that_it_holds() {
    let update = std::env::var_os("UPDATE").is_some();
    let mut differences = String::new();
    let cases = cases();
    assert!(cases.len() >= 20, "cases are missing: {}", cases.len());
    for path in cases {
        let text = std::fs::read_to_string(&path).unwrap();
        let (facts, expected) = text.split_once("---\n").expect("a line --- in every case");
        let found = outcome(facts);
        if update {
            std::fs::write(&path, format!("{facts}---\n{found}")).unwrap();
        } else if found != expected {
            let name = path.file_name().unwrap().to_string_lossy();
            write!(differences, "\n== {name}\n-- expected\n{expected}-- found\n{found}").unwrap();
        }
    }
    assert!(differences.is_empty(), "{differences}");
}

/// A guest of one volume, whose base is followed by so many increments.
fn with_increments(count: u32, rules: &str) -> String {
    use std::fmt::Write as _;
    let stamp = |n: u32| format!("202601{:02}T{:02}{:02}00Z", n / 1440 + 1, n / 60 % 24, n % 60);
    let moment =
        |n: u32| format!("2026-01-{:02}T{:02}:{:02}:00Z", n / 1440 + 1, n / 60 % 24, n % 60);
    let mut text = format!("guest 100 state stopped\nnow 2026-02-01T00:00:00Z\n{rules}\n");
    let newest = format!("ferry.1a2b3c4d.daily.{}#{count}", stamp(count));
    writeln!(text, "volume scsi0 ceph:vm-100-disk-0 id 1\nsnapshot {newest}").unwrap();
    for n in 0..=count {
        let base = if n == 0 { " base" } else { "" };
        let from = format!("ferry.1a2b3c4d.daily.{}#{n}", stamp(n));
        writeln!(text, "point {n} {}\nimage {n} of 1 from {from}{base}", moment(n)).unwrap();
    }
    text
}

#[test]
fn a_chain_that_nothing_bounds_is_renewed_after_500_increments() {
    let longest = u32::try_from(pve_ferry::plan::backup::LONGEST_CHAIN).unwrap();
    assert_eq!(longest, 500, "README and help say so");
    let kind = |count, rules: &str| {
        let plan = outcome(&with_increments(count, rules));
        let line = plan.lines().find(|line| line.contains("transfer")).unwrap().to_owned();
        if line.contains("increment  since") { "increment" } else { "base" }
    };
    assert_eq!(kind(longest - 1, ""), "increment");
    assert_eq!(kind(longest, ""), "base");
    assert_eq!(kind(longest, "prune-backups keep-all=1"), "base");
    assert_eq!(kind(longest, "renew 4000"), "increment", "a person said otherwise");
    assert_eq!(kind(longest, "keep-within 1m"), "increment", "a rule bounds it");
}
