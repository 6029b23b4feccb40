//! Hooks as real programs: what they get, what they can stop, and what must not hang.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::*;
use crate::model::{Guest, GuestKind};
use crate::progress::Meter;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::Mutex as Lock;
use std::time::Instant;
use tempfile::TempDir;

#[derive(Default)]
struct Lines(Lock<Vec<String>>);

impl Progress for Lines {
    fn begin(&self, _: &str, _: u64) -> Arc<dyn Meter> {
        Arc::new(Silent)
    }
    fn note(&self, line: &str) {
        self.0.lock().unwrap().push(line.to_owned());
    }
}

struct Bench {
    home: TempDir,
    lines: Arc<Lines>,
}

impl Bench {
    fn new() -> Self {
        let bench = Self { home: tempfile::tempdir().unwrap(), lines: Arc::default() };
        let directory = bench.home.path().join("hooks.d");
        std::fs::create_dir(&directory).unwrap();
        // Whatever the umask is.
        std::fs::set_permissions(&directory, std::fs::Permissions::from_mode(0o755)).unwrap();
        bench
    }

    fn put(&self, name: &str, mode: u32, script: &str) -> PathBuf {
        let path = self.home.path().join(name);
        std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        path
    }

    fn hooks(&self, script: Option<(&Path, Option<Compat>)>) -> Hooks {
        let job = JobFacts {
            operation: "backup".into(),
            label: Some("daily".into()),
            path: Some("/mnt/my backup".into()),
            keep: Some("7".into()),
            ..JobFacts::default()
        };
        let mut hooks = Hooks::load(script, &self.home.path().join("hooks.d"), job).unwrap();
        hooks.log = self.lines.clone();
        hooks.patience = Duration::from_secs(20);
        hooks
    }

    fn said(&self) -> Vec<String> {
        self.lines.0.lock().unwrap().clone()
    }
}

fn guest() -> Guest {
    Guest {
        vmid: 100.try_into().unwrap(),
        kind: GuestKind::Qemu,
        name: "we b\"; touch x".into(),
        node: "pve1".into(),
    }
}

fn event(about: About, at: At) -> Event {
    let mut event = Event::new(Phase::new(about, at)).of(&guest());
    event.volume = Some(VolumeFacts {
        disk: "scsi0".into(),
        volume: "ceph:vm-100-disk-0".into(),
        snapshot: "ferry.0a.daily.20260101T000000Z".into(),
        place: "rbd/vm-100-disk-0".into(),
        file: "/mnt/my backup/scsi0.increment.rbd.zst".into(),
        increment: true,
        first: true,
    });
    event
}

async fn call(hooks: &Hooks, event: &Event) -> Called {
    hooks.call(event, &Cancel::default()).await
}

#[tokio::test]
async fn a_hook_gets_phase_mode_and_vmid_and_its_lines_are_logged_one_by_one() {
    let bench = Bench::new();
    let script = bench.put(
        "hook",
        0o755,
        "set -u; echo \"$# $1 $2 $3 $PVE_FERRY_NAME in $PWD\"; echo \"$PVE_FERRY_DISK\" >&2; printf 'no end'",
    );
    let hooks = bench.hooks(Some((&script, None)));
    assert_eq!(call(&hooks, &event(About::SnapCreate, At::Before)).await.unwrap(), [""; 0]);
    let mut said = bench.said();
    said.sort();
    assert_eq!(
        said,
        [
            "hook hook: 3 snap-create-pre snapshot 100 we b\"; touch x in /",
            "hook hook: no end",
            "hook hook: scsi0",
        ]
    );
}

#[tokio::test]
async fn only_a_hook_that_comes_before_something_can_stop_it_and_the_rest_is_not_called() {
    let bench = Bench::new();
    let script = bench.put("hook", 0o755, "echo ran; exit 7");
    bench.put("hooks.d/10-other", 0o755, "echo other");
    let hooks = bench.hooks(Some((&script, None)));
    let veto = call(&hooks, &event(About::Guest, At::Before)).await.unwrap_err();
    let text = format!("{:#}", anyhow::Error::from(veto));
    assert!(
        text.contains("stopped it in phase guest-start") && text.contains("status 7"),
        "{text}"
    );
    assert_eq!(bench.said(), ["hook hook: ran"]);
    for at in [At::After, At::Abort] {
        let warnings = call(&hooks, &event(About::Guest, at)).await.unwrap();
        assert!(warnings.len() == 1 && warnings[0].contains("status 7"), "{warnings:?}");
    }
    assert!(bench.said().iter().any(|line| line == "hook 10-other: other"));
    // Under the older tools' rules it cannot.
    let hooks = bench.hooks(Some((&script, Some(Compat::Barc))));
    let warnings = call(&hooks, &event(About::SnapCreate, At::Before)).await.unwrap();
    assert!(warnings[0].contains("status 7"), "{warnings:?}");
}

#[tokio::test]
async fn a_background_child_does_not_hang_the_run_and_is_left_alone() {
    let bench = Bench::new();
    let pid = bench.home.path().join("pid");
    let text = format!("sleep 60 & echo $! > {}; echo done", pid.display());
    let script = bench.put("hook", 0o755, &text);
    let hooks = bench.hooks(Some((&script, None)));
    let begun = Instant::now();
    call(&hooks, &event(About::Guest, At::Before)).await.unwrap();
    assert!(begun.elapsed() < Duration::from_secs(10));
    assert_eq!(bench.said(), ["hook hook: done"]);
    let pid =
        nix::unistd::Pid::from_raw(std::fs::read_to_string(pid).unwrap().trim().parse().unwrap());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).expect("it still ran");
}

#[tokio::test]
async fn a_hook_that_does_not_end_is_killed_with_its_children_and_stops_what_it_came_before() {
    let bench = Bench::new();
    let script = bench.put("hook", 0o755, "echo begun; sleep 60 & wait");
    let mut hooks = bench.hooks(Some((&script, None)));
    hooks.patience = Duration::from_millis(400);
    let veto = call(&hooks, &event(About::Job, At::Before)).await.unwrap_err();
    let text = format!("{:#}", anyhow::Error::from(veto));
    assert!(text.contains("did not end within"), "{text}");
    let warnings = call(&hooks, &event(About::Job, At::After)).await.unwrap();
    assert!(warnings[0].contains("did not end within"), "{warnings:?}");
}

#[tokio::test]
async fn a_wish_to_stop_ends_a_hook_that_comes_before_something() {
    let bench = Bench::new();
    let script = bench.put("hook", 0o755, "sleep 60");
    let hooks = bench.hooks(Some((&script, None)));
    let cancel = Cancel::default();
    let begun = Instant::now();
    let later = cancel.clone();
    tokio::spawn(async move {
        tokio::time::sleep(Duration::from_millis(200)).await;
        later.cancel();
    });
    assert!(hooks.call(&event(About::Job, At::Before), &cancel).await.is_err());
    assert!(begun.elapsed() < Duration::from_secs(10));
}

#[tokio::test]
async fn the_directory_gives_its_programs_by_name_and_nothing_else() {
    let bench = Bench::new();
    bench.put("hooks.d/20-b", 0o755, "echo b");
    bench.put("hooks.d/10-a", 0o755, "echo a");
    bench.put("hooks.d/README", 0o644, "echo no");
    let leftovers = [".hidden", "30-c~", "40-d.dpkg-old", "a.bak", "a.orig", "a.save", "a.rej"];
    for name in leftovers.iter().chain(&["a.swp", "a.disabled", "#a#"]) {
        bench.put(&format!("hooks.d/{name}"), 0o755, "echo no");
    }
    std::fs::create_dir(bench.home.path().join("hooks.d/60-directory")).unwrap();
    let warnings = call(&bench.hooks(None), &event(About::Job, At::Before)).await.unwrap();
    assert_eq!(bench.said(), ["hook 10-a: a", "hook 20-b: b"]);
    assert_eq!(warnings, [""; 0], "nobody wants to hear of what editors leave");
}

#[tokio::test]
async fn what_others_can_change_or_run_parts_would_not_run_is_not_called_and_the_run_warns_of_it() {
    let bench = Bench::new();
    bench.put("hooks.d/10-everybody", 0o757, "echo no");
    bench.put("hooks.d/20-group", 0o775, "echo no");
    bench.put("hooks.d/30-script.sh", 0o755, "echo no");
    let hooks = bench.hooks(None);
    assert!(hooks.is_empty());
    let warnings = call(&hooks, &event(About::Job, At::Before)).await.unwrap();
    let expected = [("10-everybody", "0757"), ("20-group", "0775"), ("30-script.sh", "run-parts")];
    assert_eq!(warnings.len(), expected.len(), "{warnings:?}");
    for (warning, (name, why)) in warnings.iter().zip(expected) {
        assert!(warning.contains(&format!("{name} is not called")), "{warning}");
        assert!(warning.contains(why), "{warning}");
    }
    assert_eq!(call(&hooks, &event(About::Guest, At::Before)).await.unwrap(), [""; 0]);
    // A directory in which others can put things has no hooks of ours.
    let directory = bench.home.path().join("hooks.d");
    bench.put("hooks.d/40-good", 0o755, "echo no");
    std::fs::set_permissions(&directory, std::fs::Permissions::from_mode(0o777)).unwrap();
    let hooks = bench.hooks(None);
    let warnings = call(&hooks, &event(About::Job, At::Before)).await.unwrap();
    assert!(
        hooks.is_empty() && warnings.iter().all(|w| w.contains("hooks.d may be")),
        "{warnings:?}"
    );
}

#[test]
fn a_script_that_cannot_be_started_is_refused_at_once() {
    let bench = Bench::new();
    let load = |path: &Path, compat| {
        Hooks::load(Some((path, compat)), Path::new("/nonexistent"), JobFacts::default())
    };
    let plain = bench.put("plain", 0o644, "exit 0");
    let error = |result: Result<Hooks, HooksError>| {
        format!("{:#}", anyhow::Error::from(result.err().unwrap()))
    };
    assert!(error(load(&plain, None)).contains("chmod +x"));
    assert!(error(load(&plain, Some(Compat::Barc))).contains("chmod +x"));
    for mode in [0o775, 0o757] {
        let open = bench.put("open", mode, "exit 0");
        let refused = error(load(&open, None));
        assert!(refused.contains("open may be written by others"), "{refused}");
    }
    let missing = bench.home.path().join("missing");
    assert!(error(load(&missing, None)).contains("missing"));
}

#[tokio::test]
async fn a_script_of_an_older_tool_that_is_not_there_is_a_warning_of_the_run() {
    let bench = Bench::new();
    let missing = bench.home.path().join("missing");
    let hooks = bench.hooks(Some((&missing, Some(Compat::Barc))));
    assert!(hooks.is_empty());
    let warnings = call(&hooks, &event(About::Job, At::Before)).await.unwrap();
    let expected = format!("there is no hook {}: it is called in no phase", missing.display());
    assert_eq!(warnings, [expected]);
    assert_eq!(call(&hooks, &event(About::Guest, At::Before)).await.unwrap(), [""; 0]);
}

#[tokio::test]
async fn the_report_comes_on_standard_input_and_secrets_are_not_inherited() {
    let bench = Bench::new();
    let script = bench.put("hook", 0o755, "cat; echo \"<${HOME-gone}>\"");
    let mut hooks = bench.hooks(Some((&script, None)));
    hooks.hidden = vec!["HOME".into()];
    let mut event = event(About::Job, At::After);
    event.report = Some("{\"status\":\"ok\"}\n".into());
    call(&hooks, &event).await.unwrap();
    assert_eq!(bench.said(), ["hook hook: {\"status\":\"ok\"}", "hook hook: <gone>"]);
}

fn compat(compat: Compat, event: &Event, operation: &str) -> Option<String> {
    let job = JobFacts {
        operation: operation.into(),
        label: Some("daily".into()),
        path: Some("/mnt/my backup".into()),
        ..JobFacts::default()
    };
    let variables = compat.variables(event, &job)?;
    Some(variables.iter().map(|(name, value)| format!("{name}={value}\n")).collect())
}

#[test]
fn scripts_of_barc_get_exactly_its_variables() {
    let get = |event: &Event, operation: &str| compat(Compat::Barc, event, operation);
    let exports = get(&event(About::Export, At::Abort), "backup").unwrap();
    assert_eq!(
        exports,
        "EVE4PVE_BARC_PHASE=export-diff-abort\nEVE4PVE_BARC_VMID=100\nEVE4PVE_BARC_PATH=/mnt/my backup\n\
         EVE4PVE_BARC_LABEL=daily\nEVE4PVE_BARC_KEEP=\n\
         EVE4PVE_BARC_SNAP_NAME=rbd/vm-100-disk-0@ferry.0a.daily.20260101T000000Z\n\
         EVE4PVE_BARC_BACKUP_FILE=/mnt/my backup/scsi0.increment.rbd.zst\n"
    );
    let job = get(&Event::new(Phase::new(About::Job, At::Before)), "prune").unwrap();
    assert_eq!(
        job,
        "EVE4PVE_BARC_PHASE=clean-job-start\nEVE4PVE_BARC_VMID=0\nEVE4PVE_BARC_PATH=/mnt/my backup\n\
         EVE4PVE_BARC_LABEL=daily\nEVE4PVE_BARC_KEEP=\nEVE4PVE_BARC_SNAP_NAME=-\nEVE4PVE_BARC_BACKUP_FILE=-\n"
    );
    let phase = |about, at| {
        let text = get(&event(about, at), "backup")?;
        Some(text.lines().next().unwrap().split_once('=').unwrap().1.to_owned())
    };
    assert_eq!(phase(About::SnapCreate, At::Before).as_deref(), Some("snap-create-pre"));
    assert_eq!(phase(About::SnapRemove, At::After).as_deref(), Some("snap-remove-post"));
    assert_eq!(phase(About::Job, At::Abort).as_deref(), Some("backup-job-end"));
    assert_eq!(phase(About::Guest, At::Before), None);
    assert_eq!(phase(About::Merge, At::Before), None);
}

#[test]
fn scripts_of_autosnap_get_exactly_its_variables() {
    let get = |event: &Event, operation: &str| compat(Compat::Autosnap, event, operation);
    let created = event(About::SnapCreate, At::After).ended(None, 1.5);
    assert_eq!(
        get(&created, "backup").unwrap(),
        "CV4PVE_AUTOSNAP_PHASE=snap-create-post\nCV4PVE_AUTOSNAP_VMID=100\n\
         CV4PVE_AUTOSNAP_VMNAME=we b\"; touch x\nCV4PVE_AUTOSNAP_VMTYPE=qemu\n\
         CV4PVE_AUTOSNAP_LABEL=daily\nCV4PVE_AUTOSNAP_KEEP=\n\
         CV4PVE_AUTOSNAP_SNAP_NAME=ferry.0a.daily.20260101T000000Z\nCV4PVE_AUTOSNAP_VMSTATE=0\n\
         CV4PVE_AUTOSNAP_DURATION=1.500\nCV4PVE_AUTOSNAP_STATE=1\nCV4PVE_AUTOSNAP_DEBUG=0\n\
         CV4PVE_AUTOSNAP_DRY_RUN=0\n"
    );
    let value = |event: &Event, operation: &str, name: &str| {
        let text = get(event, operation)?;
        let found =
            text.lines().find_map(|line| line.strip_prefix(&format!("CV4PVE_AUTOSNAP_{name}=")));
        Some(found.unwrap().to_owned())
    };
    let job = |at| Event::new(Phase::new(About::Job, at));
    for (event, operation, phase, state) in [
        (job(At::Before), "backup", "snap-job-start", "1"),
        (job(At::After).ended(None, 2.0), "backup", "snap-job-end", "1"),
        (job(At::Abort).ended(Some("x".into()), 2.0), "backup", "snap-job-end", "0"),
        (job(At::Before), "prune", "clean-job-start", "0"),
        (event(About::SnapRemove, At::Before), "backup", "snap-remove-pre", "0"),
        (event(About::SnapRemove, At::After).ended(None, 1.0), "backup", "snap-remove-post", "1"),
        (
            event(About::SnapCreate, At::Abort).ended(Some("x".into()), 1.0),
            "backup",
            "snap-create-abort",
            "0",
        ),
    ] {
        assert_eq!(value(&event, operation, "PHASE").as_deref(), Some(phase));
        assert_eq!(value(&event, operation, "STATE").as_deref(), Some(state), "{phase}");
    }
    assert_eq!(value(&job(At::Before), "backup", "DURATION").as_deref(), Some("0"));
    let mut second = event(About::SnapCreate, At::Before);
    second.volume.as_mut().unwrap().first = false;
    assert_eq!(get(&second, "backup"), None);
    assert_eq!(get(&event(About::Export, At::Before), "backup"), None);
}
