//! Every JSON document that a test makes the program print fits the schema that is shipped, and so do
//! the files of a repository of format 1. What the documents say is the other tests' to check.

use crate::env::{Env, Said};
use crate::schema;
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

fn shipped(name: &str) -> Value {
    let path = Path::new(ROOT).join("debian/schema").join(format!("{name}.json"));
    let text = fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    serde_json::from_str(&text).unwrap()
}

/// Checks the document that these words printed, if they did.
pub fn check(words: &str, said: &Said) {
    let words: Vec<&str> = words.split_whitespace().collect();
    let follows = |first: &str, second: &str| words.windows(2).any(|pair| pair == [first, second]);
    let is_wanted =
        words.contains(&"--json") || follows("-o", "json") || follows("-o", "jsonpretty");
    // An error in place of a document has its text on stderr.
    if !is_wanted || words.contains(&"create") || said.stdout.is_empty() {
        return;
    }
    let document: Value = serde_json::from_str(&said.stdout)
        .unwrap_or_else(|error| panic!("{words:?}: {error}: {said:#?}"));
    let name = name(&words, &document);
    if let Err(why) = schema::check(&shipped(name), &document) {
        panic!("{words:?} printed what is no {name}: {why}\n{document:#}");
    }
}

fn name(words: &[&str], document: &Value) -> &'static str {
    match words {
        ["list", ..] => "list",
        ["verify", ..] if words.contains(&"--source") => "verify-source",
        ["verify", ..] => "verify",
        ["status", ..] => "status",
        ["show", "guests", ..] => "show-guests",
        ["job", "list", ..] => "job-list",
        ["job", "show", ..] => "job-show",
        ["snapshot" | "snap", ..] if words.contains(&"list") || words.contains(&"status") => {
            "snapshot-list"
        }
        _ if document["dry_run"] == true => "plans",
        _ => "report",
    }
}

#[test]
fn what_the_commands_print_fits() {
    let env = Env::with_guest();
    let mut seen = BTreeSet::new();
    let mut run = |words: &str, code: i32| {
        let said = env.run(words).exits(code);
        let document: Value = serde_json::from_str(&said.stdout).unwrap();
        let words: Vec<&str> = words.split_whitespace().collect();
        seen.insert(name(&words, &document));
        document
    };
    let backup = "backup --vmid 100 --label daily --path REPO --jobs 1 --threads 1 --json";
    assert!(run(&format!("{backup} --dry-run"), 0)["plans"][0]["steps"].is_array());
    assert_eq!(run(backup, 0)["status"], "ok");
    assert_eq!(run("list --path REPO --json", 0)["restore_points"].as_array().unwrap().len(), 1);
    assert_eq!(run("verify --path REPO --mark --json", 0)["guests"][0]["status"], "ok");
    env.run("job create nightly --vmid 100 --label daily --path REPO --protect-snap").exits(0);
    assert_eq!(run("job list --json", 0)["jobs"][0]["guests"][0]["vmid"], 100);
    assert_eq!(run("job show nightly --json", 0)["options"]["protect-snap"], "");
    assert_eq!(run("status --json", 0)["guests"][0]["status"], "ok");
    assert_eq!(run("show guests --explain --json", 0)["guests"][0]["vmid"], 100);
    // Those that are missing need other machines: an API, and real blocks.
    let elsewhere = ["snapshot-list", "verify-source"];
    seen.extend(elsewhere);
    let mut printed: BTreeSet<String> = BTreeSet::new();
    for entry in fs::read_dir(Path::new(ROOT).join("debian/schema")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        printed.insert(name.trim_end_matches(".json").to_owned());
    }
    printed.retain(|name| !name.starts_with("repository-") && !name.ends_with(".cfg"));
    assert_eq!(
        seen,
        printed.iter().map(String::as_str).collect(),
        "a document is never printed here"
    );
}

#[test]
fn a_damaged_repository_and_one_that_is_gone_fit_too() {
    let env = Env::with_disks(1);
    env.run("backup --vmid 100 --label daily --path REPO --jobs 1 --threads 1").exits(0);
    let image = files(&env.path("repository"))
        .into_iter()
        .find(|path| path.file_name().is_some_and(|name| name == "scsi0.base.rbd.zst"));
    let image = image.unwrap();
    let mut bytes = fs::read(&image).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&image, bytes).unwrap();
    let found = env.run("verify --path REPO --mark --json").exits(12).json();
    assert!(found["guests"][0]["damage"][0]["file"].is_string(), "{found:#}");
    let listed = env.run("list --path REPO --json").exits(0).json();
    assert_eq!(listed["restore_points"][0]["verified"], "failed");
    env.run("job create a --vmid 100 --label daily --path DIR/gone").exits(0);
    let jobs = env.run("job list --json").exits(0).json();
    assert!(jobs["jobs"][0]["guests_error"].is_string(), "{jobs:#}");
    env.run("status --json");
}

#[test]
fn a_repository_of_format_1_fits() {
    let mut counts = std::collections::BTreeMap::new();
    for path in files(&Path::new(ROOT).join("tests/data/repository/v1")) {
        let name = match path.file_name().unwrap().to_str().unwrap() {
            "manifest.json" => "repository-manifest",
            "attributes.json" => "repository-attributes",
            "guest.json" => "repository-guest",
            other if other.ends_with(".json") => panic!("{other} is of no format"),
            _ => continue,
        };
        let document: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        schema::check(&shipped(name), &document)
            .unwrap_or_else(|why| panic!("{}: {why}", path.display()));
        *counts.entry(name).or_insert(0) += 1;
    }
    assert_eq!(counts.len(), 3, "{counts:?}");
    assert_eq!(counts["repository-manifest"], 4, "{counts:?}");
}

#[test]
fn a_lock_fits() {
    let env = Env::with_disks(1);
    env.spoil("match export-diff\npause 2\nbytes 60\n");
    let running = env.spawn("backup --vmid 100 --label daily --path REPO --jobs 1 --threads 1");
    let begun = std::time::Instant::now();
    let lock = loop {
        let found = files(&env.path("repository"));
        let is_lock = |path: &&PathBuf| path.parent().is_some_and(|dir| dir.ends_with("locks"));
        let text = found.iter().find(is_lock).and_then(|path| fs::read_to_string(path).ok());
        if let Some(Ok(lock)) = text.map(|text| serde_json::from_str::<Value>(&text)) {
            break lock;
        }
        assert!(begun.elapsed() < std::time::Duration::from_secs(30), "no lock");
        std::thread::sleep(std::time::Duration::from_millis(1));
    };
    running.ends();
    assert_eq!(schema::check(&shipped("repository-lock"), &lock), Ok(()));
}

fn files(below: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![below.to_owned()];
    while let Some(path) = open.pop() {
        match fs::read_dir(&path) {
            Ok(entries) => open.extend(entries.filter_map(|entry| Some(entry.ok()?.path()))),
            Err(_) => found.push(path),
        }
    }
    found.sort();
    found
}
