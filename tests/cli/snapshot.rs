//! Snapshots of guests by the built program, against the API's double over real TLS. Scenarios E1
//! to E19 of cv4pve-autosnap's behaviour. Not for the decisions: those are golden plans.

use crate::cluster::{Cluster, TLS, guest, snapshot, three, with};
use serde_json::{Value, json};
use std::fs;

#[test]
fn e1_exactly_the_oldest_of_the_label_goes_and_e2_the_old_tools_names_are_known() {
    let mut snapshots = three();
    snapshots.as_array_mut().unwrap()[0]["description"] = "eve4pve-autosnap".into();
    let manual = json!({"name": "auto_x", "snaptime": 1, "description": "mine", "vmstate": 0});
    snapshots.as_array_mut().unwrap().extend([manual, snapshot("autohourly260101000000", 2)]);
    let cluster = Cluster::of(vec![with(guest(100), json!({"snapshots": snapshots}))]);
    cluster
        .run("create --vmid 100 --label daily --keep 3")
        .exits(0)
        .says(&["made snapshot autodaily"]);
    let names = cluster.snapshots(100);
    assert_eq!(
        names[..4],
        ["autodaily260102000000", "autodaily260103000000", "auto_x", "autohourly260101000000"]
    );
    assert!(names.len() == 5 && names[4].starts_with("autodaily"), "{names:?}");
    let made = &cluster.guest(100)["snapshots"][4];
    assert_eq!(made["description"], "cv4pve-autosnap", "cv4pve-autosnap knows it by that");
    let stamp = names[4].strip_prefix("autodaily").unwrap();
    assert!(stamp.len() == 12 && stamp.bytes().all(|b| b.is_ascii_digit()), "{stamp}");
    assert_eq!(cluster.requests("force"), 0);
}

#[test]
fn e3_a_failed_creation_removes_nothing_and_the_others_go_on() {
    let cluster = Cluster::of(vec![
        with(guest(100), json!({"snapshots": three(), "create_fails": "quota exceeded"})),
        guest(101),
    ]);
    let said = cluster.run("create --vmid all --label daily --keep 2").exits(3);
    said.says(&[
        "guest 100 web100 on pve1: FAILED",
        "quota exceeded",
        "UPID:pve1",
        "1 of 2 guests ok",
    ]);
    assert_eq!((cluster.snapshots(100).len(), cluster.snapshots(101).len()), (3, 1));
    assert_eq!(cluster.requests("DELETE"), 0);
    cluster.run("create --compat autosnap --vmid all --label other --keep 2").exits(1);
    cluster.run("create --compat autosnap --vmid all").exits(1).complains(&["--label"]);
}

#[test]
fn e4_and_e5_selections_and_a_node_that_is_down() {
    let dead = |vmid| with(guest(vmid), json!({"status": "unknown", "node": "pve2"}));
    let cluster = Cluster::of(vec![
        with(guest(100), json!({"pool": "x"})),
        with(guest(101), json!({"pool": "x/y", "tags": "a;b"})),
        guest(102),
        dead(103),
    ]);
    let selected = |selection: &str, code: i32| {
        let said =
            cluster.run(&format!("create -n --json --label daily --vmid {selection}")).exits(code);
        let plans = said.json()["plans"].as_array().unwrap().len();
        (plans, said)
    };
    assert_eq!(selected("@pool-x,-100", 0).0, 1);
    assert_eq!(selected("-150:200,-102,@tag-a,web%,-103", 0).0, 2);
    for asking in ["web%", "@tag-a", "storage-ceph,@pool-x", "all,-%nobody", "storage-ceph"] {
        let (_, said) = selected(asking, 3);
        let refused =
            said.says(&["whether it is selected is unknown", "offline"]).json()["refused"].clone();
        assert_eq!(refused.as_array().unwrap().len(), 1, "{asking}");
        assert_eq!((&refused[0]["vmid"], &refused[0]["status"]), (&json!(103), &json!("failed")));
        let list = cluster.run(&format!("list --vmid {asking}")).exits(3);
        list.complains(&["guest 103: whether it is selected is unknown"]);
    }
    assert_eq!(selected("@pool-x,100", 0).0, 2);
    let (plans, said) = selected("%web%,@all", 3);
    assert_eq!(plans, 3);
    said.says(&["offline"]);
    cluster.run("create --label daily --vmid 999").exits(4).says(&["no guest is selected"]);
    assert_eq!(cluster.requests("POST"), 0);
}

#[test]
fn a_pool_that_pve_does_not_show_is_no_pool_without_guests() {
    let guests =
        || json!([with(guest(100), json!({"pool": "Kept", "snapshots": three()})), guest(101)]);
    let privileges =
        |pool: Value| json!({"/": {"VM.Audit": 1, "VM.Snapshot": 1}, "/pool/Kept": pool});
    let hidden =
        Cluster::like(json!({"guests": guests(), "permissions": privileges(json!({}))}), 1);
    for words in [
        "prune --vmid all,-@pool-Kept --label daily --keep 0 --yes",
        "create --vmid @pool-Kept --label daily",
        "list --vmid all,-@pool-Kept",
    ] {
        let text = "Pool.Audit, handed down, on /pool/Kept";
        hidden.run(words).exits(1).complains(&[text, "nothing was changed", "pveum acl modify"]);
    }
    assert_eq!((hidden.requests("DELETE"), hidden.requests("POST")), (0, 0));
    hidden.run("prune --vmid 100 --label daily --keep 2").exits(0);
    let shown = privileges(json!({"Pool.Audit": 1}));
    let shown = Cluster::like(json!({"guests": guests(), "permissions": shown}), 1);
    shown.run("prune --vmid all,-@pool-kept --label daily --keep 0 --yes").exits(1);
    shown.run("prune --vmid all,-@pool-Kept --label daily --keep 0 --yes").exits(0);
    assert_eq!(shown.snapshots(100).len(), 3, "it was excluded");
}

#[test]
fn a_guest_whose_configuration_cannot_be_read_is_named_where_its_storages_decide() {
    for status in [403, 595] {
        let unreadable = with(guest(101), json!({"unreadable": status}));
        let cluster = Cluster::of(vec![guest(100), unreadable]);
        let said = cluster.run("create --vmid storage-ceph --label daily").exits(3);
        said.says(&[
            "guest 101 web101 on pve1: FAILED",
            "whether it is selected is unknown",
            "its configuration cannot be read",
            "1 of 2 guests ok",
        ]);
        if status == 403 {
            cluster.run("create --vmid storage-ceph,-101 --label other").exits(0);
        }
        assert_eq!(cluster.requests("POST /nodes/pve1/qemu/101"), 0);
    }
}

#[test]
fn e6_full_storages_are_refused_and_those_without_a_size_are_not() {
    let on = |vmid, storage: &str| {
        with(guest(vmid), json!({"config": {"scsi0": format!("{storage}:vm-{vmid}-disk-0")}}))
    };
    let bind = with(
        guest(103),
        json!({"type": "lxc", "config": {"rootfs": "ceph:vm-103-disk-0", "mp0": "/srv,mp=/srv"}}),
    );
    let storages = json!([
        {"node": "pve1", "storage": "full", "disk": 96, "maxdisk": 100},
        {"node": "pve1", "storage": "odd", "maxdisk": 0},
        {"node": "pve1", "storage": "ceph", "disk": 0, "maxdisk": 100},
    ]);
    let guests = vec![on(100, "full"), on(101, "odd"), on(102, "ceph"), bind];
    let cluster = Cluster::like(json!({"guests": guests, "storages": storages}), 1);
    let said = cluster.run("create --vmid all --label daily --keep 1").exits(3);
    said.says(&["96.0 % full", "mp0", "2 of 3 guests ok, 1 skipped"]);
    cluster.run("create --vmid 103 --label daily --keep 1").exits(0);
    cluster.run("create --vmid 100 --label daily --max-perc-storage 97").exits(0);
}

#[test]
fn e7_warnings_are_success_with_a_warning() {
    let cluster =
        Cluster::of(vec![with(guest(100), json!({"snapshots": three(), "create_warnings": 1}))]);
    let said = cluster.run("create --vmid 100 --label daily --keep 3").exits(0);
    said.says(&["warning", "WARNINGS: 1", "removed snapshot autodaily260101000000"]);
}

#[test]
fn e8_a_lock_is_waited_for_as_long_as_was_asked() {
    let locked = |seconds: u32| with(guest(100), json!({"lock": "backup", "locked_for": seconds}));
    let cluster = Cluster::of(vec![locked(3)]);
    cluster.run("create --vmid 100 --label daily --lock-wait 60").exits(0);
    let cluster = Cluster::of(vec![locked(3600), guest(101)]);
    let said = cluster.run("create --vmid all --label daily --lock-wait 1").exits(3);
    said.says(&["guest 100 web100 on pve1: FAILED", "locked (backup)", "1 of 2 guests ok"]);
    assert_eq!(cluster.requests("POST /nodes/pve1/qemu/100"), 0);
}

#[test]
fn e9_a_task_that_outlasts_the_timeout_is_named_and_counted_by_the_next_run() {
    let cluster =
        Cluster::of(vec![with(guest(100), json!({"snapshots": three(), "task_seconds": 4}))]);
    let said = cluster.run("create --vmid 100 --label daily --keep 3 --timeout 1").exits(1);
    said.says(&["UPID:pve1:", "still runs after 1 s", "--timeout"]);
    assert_eq!(cluster.requests("DELETE"), 0, "nothing is removed before the new one is there");
    let said = cluster.run("create --vmid 100 --label daily --keep 3 --lock-wait 60").exits(0);
    said.says(&[
        "removed snapshot autodaily260101000000",
        "removed snapshot autodaily260102000000",
    ]);
    assert_eq!(cluster.snapshots(100).len(), 3, "the late one counts");
}

#[test]
fn e10_what_replication_needs_is_kept_and_told() {
    let needed = json!({"snapshots": three(), "needed": "autodaily260101000000"});
    let cluster = Cluster::of(vec![with(guest(100), needed)]);
    let said = cluster.run("create --vmid 100 --label daily --keep 3").exits(0);
    said.says(&["warning: snapshot autodaily260101000000 is kept", "replication"]);
    assert_eq!(cluster.snapshots(100).len(), 4);
}

#[test]
fn a_removal_that_fails_fails_the_guest_and_the_next_run_knows_the_way_out() {
    let broken = json!({"snapshots": three(), "delete_fails": "storage is busy"});
    let cluster = Cluster::of(vec![with(guest(100), broken)]);
    let said = cluster.run("prune --vmid 100 --label daily --keep 1").exits(1);
    said.says(&["storage is busy"]);
    assert_eq!(cluster.requests("DELETE"), 1, "nothing is removed behind it");
    let said = cluster.run("create --vmid 100 --label daily").exits(1);
    said.says(&["locked (snapshot-delete)", "qm unlock"]);
}

#[test]
fn e11_a_dry_run_only_reads_and_shows_what_the_real_run_does() {
    let cluster = Cluster::of(vec![with(guest(100), json!({"snapshots": three()}))]);
    let said = cluster.run("create --vmid 100 --label daily --keep 2 --dry-run").exits(0);
    let planned: Vec<&str> =
        said.stdout.lines().filter(|l| l.contains("remove snapshot")).collect();
    assert_eq!((cluster.requests("POST"), cluster.requests("DELETE")), (0, 0));
    assert_eq!(planned.len(), 2, "{said:?}");
    let real = cluster.run("create --vmid 100 --label daily --keep 2").exits(0);
    let removed: Vec<&str> =
        real.stdout.lines().filter(|l| l.contains("removed snapshot")).collect();
    for (plan, done) in planned.iter().zip(&removed) {
        assert!(plan.contains(done.trim().split(' ').next_back().unwrap()), "{plan} / {done}");
    }
    assert_eq!(removed.len(), 2);
}

/// Writes a hook that notes its variables, and ends with this code.
fn hook(cluster: &Cluster, code: i32) {
    use std::os::unix::fs::PermissionsExt as _;
    let home = cluster.home.path().display();
    let v = "$CV4PVE_AUTOSNAP_";
    let line = format!(
        "{v}PHASE {v}VMID {v}VMNAME {v}VMTYPE {v}LABEL {v}KEEP {v}SNAP_NAME {v}VMSTATE {v}STATE {v}DEBUG {v}DRY_RUN $1"
    );
    let script = format!("#!/bin/sh\necho \"{line}\" >> {home}/heard\nexit {code}\n");
    fs::write(cluster.path("hook"), script).unwrap();
    fs::set_permissions(cluster.path("hook"), fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn e12_hooks_of_autosnap_hear_each_phase_with_its_variables_and_cannot_stop_anything() {
    let failing = with(guest(101), json!({"create_fails": "quota exceeded"}));
    let old =
        json!([snapshot("autodaily260101000000", 1000), snapshot("autodaily260102000000", 2000)]);
    let cluster = Cluster::of(vec![with(guest(100), json!({"snapshots": old})), failing]);
    hook(&cluster, 3);
    let script = "--script DIR/hook --hook-compat autosnap --jobs 1";
    let words = format!("create --vmid all --label daily --keep 2 --state {script}");
    let said = cluster.run(&words).exits(3);
    let said = said.says(&["1 of 2 guests ok", "warning: hook", "status 3"]);
    let name = said.stdout.split("made snapshot ").nth(1).unwrap().lines().next().unwrap();
    let heard = fs::read_to_string(cluster.path("heard")).unwrap();
    let expected = [
        "snap-job-start    daily 2  1 1 0 0 job-start".to_owned(),
        format!("snap-create-pre 100 web100 qemu daily 2 {name} 1 1 0 0 snap-create-pre"),
        "snap-remove-pre 100 web100 qemu daily 2 autodaily260101000000 0 0 0 0 snap-remove-pre"
            .to_owned(),
        "snap-remove-post 100 web100 qemu daily 2 autodaily260101000000 0 1 0 0 snap-remove-post"
            .to_owned(),
        format!("snap-create-post 100 web100 qemu daily 2 {name} 1 1 0 0 snap-create-post"),
        format!("snap-create-pre 101 web101 qemu daily 2 {name} 1 1 0 0 snap-create-pre"),
        format!("snap-create-abort 101 web101 qemu daily 2 {name} 1 0 0 0 snap-create-abort"),
        "snap-job-end    daily 2  1 0 0 0 job-end".to_owned(),
    ];
    assert_eq!(heard.lines().collect::<Vec<_>>(), expected);
    fs::remove_file(cluster.path("heard")).unwrap();
    cluster.run(&format!("prune --vmid 100 --label daily --keep 0 {script}")).exits(0);
    let heard = fs::read_to_string(cluster.path("heard")).unwrap();
    assert!(heard.starts_with("clean-job-start    daily 0  0 0 0 0"), "{heard}");
    assert!(heard.ends_with("clean-job-end    daily 0  0 1 0 0 job-end\n"), "{heard}");
    fs::remove_file(cluster.path("heard")).unwrap();
    cluster.run(&format!("create -n --vmid 100 --label daily {script}")).exits(0);
    assert!(!cluster.path("heard").exists(), "no hook in a dry run");
}

#[test]
fn a_hook_of_ours_can_stop_a_snapshot_before_it_is_made() {
    let cluster = Cluster::of(vec![with(guest(100), json!({"snapshots": three()}))]);
    hook(&cluster, 1);
    cluster.run("create --vmid 100 --label daily --keep 1 --script DIR/hook").exits(1);
    assert_eq!((cluster.requests("POST"), cluster.requests("DELETE")), (0, 0));
}

#[test]
fn e13_words_stand_in_files_also_secrets_and_before_the_command() {
    let cluster = Cluster::of(vec![guest(100)]);
    let connection = format!(
        "# who\n--host={}\n\n--api-token snap@pve!cron=secret-1\n@DIR/more\n",
        cluster.hosts()
    );
    let connection = connection.replace("DIR", &cluster.home.path().display().to_string());
    fs::write(cluster.path("connection"), connection).unwrap();
    fs::write(cluster.path("more"), format!("--ca-file \"{TLS}/ca.pem\" --vmid=100\n")).unwrap();
    cluster.plain("snap @DIR/connection create --label=daily --keep=3").exits(0);
    cluster.plain("snapshot @DIR/connection status -o json").exits(0).says(&["autodaily"]);
    cluster.plain("snap @DIR/connection create --label=daily --label=x").exits(2);
    cluster
        .plain("snap create --vmid all --label daily --host h --api-token a@pve!x=s3")
        .exits(2)
        .complains(&["file:PATH"]);
}

#[test]
fn e14_the_next_host_takes_over_before_and_in_the_middle_of_a_run() {
    let cluster = Cluster::of(vec![guest(100)]);
    let dead = format!("localhost:1,{}", cluster.hosts());
    let login = format!("--api-token file:DIR/token --ca-file {TLS}/ca.pem");
    cluster.plain(&format!("snap list --vmid all --host {dead} {login}")).exits(0);
    let all = (100..110).map(guest).collect::<Vec<_>>();
    // The second host dies between a request that starts a task and the questions after it.
    let cluster = Cluster::like(json!({"guests": all, "dies_after": {"0": 0, "1": 10}}), 3);
    cluster.run("create --vmid all --label daily").exits(0).says(&["10 of 10 guests ok"]);
    assert!(cluster.requests("2 GET") > 5, "{}", cluster.log());
    assert_eq!((100..110).map(|n| cluster.snapshots(n).len()).sum::<usize>(), 10);
    let said = cluster.plain(&format!("snap list --vmid all --host localhost:1 {login}")).exits(1);
    said.complains(&["localhost:1: connection refused", "this request changed nothing"]);
}

/// Longer than the client itself asks again for one request.
const OUTAGE: u32 = 13;

#[test]
fn a_proxy_that_is_gone_while_a_task_runs_costs_time_and_not_the_task() {
    let outage = json!({"after": "POST /nodes", "seconds": OUTAGE});
    let guests = json!([with(guest(100), json!({"snapshots": three()}))]);
    let cluster = Cluster::like(json!({"guests": guests, "outage": outage}), 1);
    let said = cluster.run("create --vmid 100 --label daily --keep 3").exits(0);
    said.says(&["made snapshot autodaily", "removed snapshot autodaily260101000000"]);
    assert_eq!((cluster.snapshots(100).len(), cluster.requests("POST")), (3, 1));
}

#[test]
fn a_task_whose_end_nobody_tells_is_named_and_never_called_no_change() {
    for (words, request) in [
        ("create --vmid 100 --label daily --keep 1", "POST /nodes"),
        ("rollback --vmid 100 --name autodaily260102000000 --yes", "POST /nodes"),
        ("prune --vmid 100 --label daily --keep 2", "DELETE /nodes"),
    ] {
        let outage = json!({"after": request, "seconds": 3600});
        let guests = json!([with(guest(100), json!({"snapshots": three()}))]);
        let cluster = Cluster::like(json!({"guests": guests, "outage": outage}), 1);
        let said = cluster.run(&format!("{words} --timeout 1")).exits(1);
        let said = said.says(&["task UPID:pve1:", "its end is not known", "pvenode task status"]);
        assert!(!said.stdout.contains("nothing"), "{said:?}");
        assert_eq!(cluster.requests("POST") + cluster.requests("DELETE"), 1, "{words}");
    }
}

#[test]
fn an_answer_that_never_came_is_waited_for_through_an_outage() {
    for (seconds, code, text) in
        [(OUTAGE, 0, "made all the same"), (3600, 1, "whether the snapshot was made is not known")]
    {
        let broken = json!({"guests": [guest(100)], "breaks_answer_of": "POST /nodes",
            "outage": {"after": "POST /nodes", "seconds": seconds}});
        let cluster = Cluster::like(broken, 1);
        let patience = if code == 0 { 60 } else { 1 };
        let said = cluster.run(&format!("create --vmid 100 --label daily --timeout {patience}"));
        let said = said.exits(code).says(&[text]);
        assert!(!said.stdout.contains("changed nothing"), "{said:?}");
        assert_eq!(cluster.requests("POST"), 1);
    }
}

#[test]
fn an_answer_that_never_came_is_looked_up_and_nothing_is_made_twice() {
    let document = json!({"guests": [guest(100)], "breaks_answer_of": "POST /nodes"});
    let cluster = Cluster::like(document, 1);
    cluster.run("create --vmid 100 --label daily").exits(0).says(&["made all the same"]);
    assert_eq!((cluster.snapshots(100).len(), cluster.requests("POST")), (1, 1));
}

#[test]
fn e15_tickets_are_renewed_and_a_second_factor_and_missing_privileges_are_told() {
    let guests: Vec<Value> =
        (100..104).map(|n| with(guest(n), json!({"task_seconds": 1}))).collect();
    let users =
        json!({"root@pam": {"password": "pw"}, "two@pve": {"password": "pw", "otp": "123456"}});
    let cluster = Cluster::like(json!({"guests": guests, "users": users, "ticket_seconds": 2}), 1);
    fs::write(cluster.path("password"), "pw\n").unwrap();
    let login =
        format!("--host {} --password file:DIR/password --ca-file {TLS}/ca.pem", cluster.hosts());
    let run = |words: &str| cluster.plain(&format!("snap {words} {login}"));
    run("create --username root --vmid all --label daily --jobs 1").exits(0).says(&["4 of 4"]);
    assert!(cluster.requests("POST /access/ticket") >= 2, "{}", cluster.log());
    run("list --username two@pve --vmid all").exits(1).complains(&["second factor", "--otp"]);
    run("list --username two@pve --vmid all --otp 123456").exits(0);
    run("list --username two@pve --vmid all --otp 654321")
        .exits(1)
        .complains(&["authentication failure"]);
    let cluster = Cluster::of(vec![with(guest(100), json!({"denied": "VM.Snapshot"})), guest(101)]);
    let said = cluster.run("create --vmid all --label daily").exits(3);
    said.says(&["the privilege VM.Snapshot on /vms/100 is missing", "1 of 2 guests ok"]);
}

#[test]
fn e16_and_e17_formats_and_names_that_cannot_be_are_refused_before_anything_is_sent() {
    let cluster = Cluster::of(vec![guest(100)]);
    let long = "abcdefghijklmnopqrstuvwxyzabcd";
    for words in [
        "--label daily --timestamp-format ddMMyy".to_owned(),
        "--label daily --timestamp-format yyMMddhhmmss".to_owned(),
        format!("--label {long}"),
        "--label \"daily\"".to_owned(),
        "--label Daily".to_owned(),
        "--label abcdefghijklmnopqrstuvwx --timestamp-format yyyy-MM-dd_HH-mm-ss".to_owned(),
        "--label daily --keep 0".to_owned(),
        "--label daily --max-perc-storage 101".to_owned(),
    ] {
        cluster.run(&format!("create --vmid 100 {words}")).exits(2);
    }
    assert_eq!(cluster.log(), "");
    let said = cluster
        .run("create --vmid 100 --label daily --timestamp-format yyyy-MM-dd_HHmmss")
        .exits(0);
    said.says(&["made snapshot autodaily20"]);
}

#[test]
fn e18_every_rendering_holds_the_same_rows() {
    let odd = json!([{"name": "autodaily260101000000", "snaptime": 1_767_225_600, "vmstate": 1,
        "description": "cv4pve-autosnap\n", "parent": "before"}]);
    let cluster = Cluster::of(vec![with(guest(100), json!({"snapshots": odd})), guest(101)]);
    for form in ["text", "json", "jsonpretty", "markdown", "html", "unicode", "unicodeAlt", "TEXT"]
    {
        let said = cluster.run(&format!("list --vmid all -o {form}")).exits(0);
        said.says(&["autodaily260101000000", "VM STATUS", "before"]);
    }
    let list = cluster.run("status --vmid all --json").exits(0).json();
    assert_eq!(list[0]["VM"], "100");
    assert_eq!(
        (&list[0]["VM STATUS"], &list[0]["TIME"]),
        (&json!("X"), &json!("26/01/01 00:00:00"))
    );
    assert_eq!(cluster.run("list --vmid 101 -o json").exits(0).stdout, "[]\n");
    assert_eq!(cluster.run("list --vmid 999").exits(4).stdout, "");
    cluster.run("list --vmid 100 --label hourly -o json").exits(0).says(&["[]"]);
}

#[test]
fn a_guest_that_moved_since_it_was_listed_is_found_on_its_node() {
    let cluster = Cluster::of(vec![with(guest(100), json!({"moved_to": "pve2"}))]);
    cluster.run("create --vmid 100 --label daily").exits(0);
    assert_eq!(cluster.requests("POST /nodes/pve2/qemu/100/snapshot"), 1);
}

#[test]
fn a_guest_that_moves_between_the_plan_and_a_step_is_found_on_its_node() {
    for (request, there) in [("POST snapshot", 3), ("DELETE snapshot/autodaily260101000000", 2)] {
        let moves = json!({"request": request, "to": "pve2"});
        let changes = json!({"snapshots": three(), "moves_before": moves});
        let cluster = Cluster::of(vec![with(guest(100), changes)]);
        let said = cluster.run("create --vmid 100 --label daily --keep 2").exits(0);
        said.says(&["removed snapshot autodaily260102000000"]);
        let (post, delete) = ("POST /nodes/pve2/qemu", "DELETE /nodes/pve2/qemu");
        assert_eq!(cluster.requests(post) + cluster.requests(delete), there, "{}", cluster.log());
        assert_eq!(cluster.snapshots(100).len(), 2);
    }
}

#[test]
fn memory_goes_in_for_machines_only() {
    let container = json!({"type": "lxc", "config": {"rootfs": "ceph:vm-101-disk-0,size=1G"}});
    let stopped = json!({"status": "stopped"});
    let guests = vec![guest(100), with(guest(101), container), with(guest(102), stopped)];
    let cluster = Cluster::of(guests);
    cluster.run("create --vmid all --label daily --state").exits(0);
    assert_eq!(cluster.requests("vmstate=1"), 1);
    let cluster = Cluster::of(vec![with(guest(102), json!({"status": "stopped"}))]);
    cluster.run("create --vmid all --label daily --only-running").exits(0).says(&["skipped"]);
    assert_eq!(cluster.requests("POST"), 0);
}

#[test]
fn as23_a_guest_that_pve_cannot_snapshot_fails_before_anything_is_made_and_names_the_disk() {
    let on = |storage: &str, plugin: &str| json!({"node": "pve1", "storage": storage, "plugintype": plugin});
    let raw = json!({"agent": "1", "scsi0": "ceph:vm-100-disk-0", "ide2": "nas:iso/a.iso,media=cdrom",
        "scsi1": "nas:100/vm-100-disk-1.raw,backup=0"});
    let qcow2 = json!({"agent": "1", "scsi0": "nas:101/vm-101-disk-0.qcow2",
        "ide2": "nas:101/vm-101-cloudinit.raw,media=cdrom"});
    let container =
        json!({"rootfs": "ceph:vm-102-disk-0", "mp0": "nas:102/vm-102-disk-1.raw,mp=/a"});
    let foreign = json!({"agent": "1", "scsi0": "hidden:x"});
    let guests = json!([
        with(guest(100), json!({"config": raw, "snapshots": three()})),
        with(guest(101), json!({"config": qcow2})),
        with(guest(102), json!({"type": "lxc", "config": container})),
        with(guest(103), json!({"config": foreign})),
        guest(104),
    ]);
    // Nobody but PVE knows the last one's rules.
    let storages = json!([on("ceph", "rbd"), on("nas", "nfs"), on("hidden", "somebodys")]);
    let cluster = Cluster::like(json!({"guests": guests, "storages": storages}), 1);
    for dry in ["-n", ""] {
        let words = format!("create --vmid all --label daily --keep 1 {dry}");
        cluster.run(&words).exits(3).says(&[
            "scsi1 is raw on storage nas (nfs)",
            "qm disk move 100 scsi1 nas --format qcow2",
            "--vmid ...,-100); nothing was changed",
            "pct move-volume 102 mp0 STORAGE",
            "it does not say which disk",
        ]);
        assert_eq!(cluster.requests("feature=snapshot"), if dry.is_empty() { 10 } else { 5 });
    }
    for vmid in [100, 102, 103] {
        assert_eq!(cluster.requests(&format!("POST /nodes/pve1/qemu/{vmid}")), 0);
    }
    assert_eq!(cluster.requests("DELETE"), 0, "what cannot be made removes nothing");
    assert_eq!((cluster.snapshots(101).len(), cluster.snapshots(104).len()), (1, 1));
    cluster.run("prune --vmid all --label daily --keep 1").exits(0);
    cluster.run("rollback --vmid 100 --name autodaily260103000000 --yes").exits(0);
    assert_eq!(cluster.requests("feature=snapshot"), 10, "only what makes one asks");
}

#[test]
fn as23_a_question_that_pve_does_not_answer_is_a_warning_and_pve_still_refuses_itself() {
    let raw = json!({"agent": "1", "scsi0": "nas:101/vm-101-disk-0.raw"});
    for status in [403, 501] {
        let deaf = json!({"feature_fails": status});
        let guests = json!([
            with(guest(100), deaf.clone()),
            with(with(guest(101), deaf), json!({"config": raw})),
        ]);
        let storages = json!([{"node": "pve1", "storage": "nas", "plugintype": "dir"}]);
        let cluster = Cluster::like(json!({"guests": guests, "storages": storages}), 1);
        let warning = "warning: PVE did not say whether it can snapshot all disks";
        let said = cluster.run("create --vmid all --label daily").exits(3);
        said.says(&[warning, "snapshot feature is not available", "1 of 2 guests ok"]);
        cluster.run("create --vmid 100 --label dry -n").exits(0).says(&["PVE did not say"]);
        assert_eq!(cluster.snapshots(100).len(), 1);
    }
}

#[test]
fn memory_goes_only_where_pve_makes_volumes_and_not_of_machines_with_virtiofs() {
    let state = |changes: Value| with(guest(100)["config"].clone(), changes);
    let at = |node: &str, storage: &str, plugin: &str| json!({"node": node, "storage": storage, "plugintype": plugin});
    let guests: Vec<Value> = [
        state(json!({"vmstatestorage": "luns"})),
        state(json!({"vmstatestorage": "far"})),
        state(json!({"virtiofs0": "share"})),
        state(json!({"amd-sev": "type=std"})),
        state(json!({})),
    ]
    .into_iter()
    .zip(100..)
    .map(|(config, vmid)| with(guest(vmid), json!({"config": config})))
    .collect();
    let storages =
        json!([at("pve1", "ceph", "rbd"), at("pve1", "luns", "iscsi"), at("pve2", "far", "dir")]);
    let cluster = Cluster::like(json!({"guests": guests, "storages": storages}), 1);
    cluster.run("create --vmid all --label daily --state").exits(3).says(&[
        "storage luns, where PVE makes no volumes (iscsi)",
        "storage far, which its node does not have",
        "memory of a machine with virtiofs0",
        "memory of a machine with amd-sev",
        "1 of 5 guests ok",
    ]);
    assert_eq!(cluster.requests("POST"), 1);
    cluster.run("create --vmid all --label other").exits(0).says(&["5 of 5 guests ok"]);
}

#[test]
fn memory_needs_room_on_the_storage_that_pve_chooses() {
    let on = |storage: &str, plugin: &str, size: u64| {
        json!({"node": "pve1", "storage": storage, "disk": 10, "maxdisk": size, "shared": 1,
            "plugintype": plugin})
    };
    let config = json!({"agent": "1", "scsi0": "ceph:vm-100-disk-0", "scsi1": "nas:100/x.qcow2",
        "memory": "4096"});
    let mut set = config.clone();
    set["vmstatestorage"] = "ceph".into();
    let guests =
        vec![with(guest(100), json!({"config": config})), with(guest(101), json!({"config": set}))];
    let storages = json!([on("ceph", "rbd", 1 << 40), on("nas", "nfs", 8 << 30)]);
    let cluster = Cluster::like(json!({"guests": guests, "storages": storages}), 1);
    let said = cluster.run("create --vmid all --label daily --state").exits(3);
    said.says(&["needs 8.49 GiB on storage nas", "vmstatestorage", "1 of 2 guests ok"]);
    assert_eq!(cluster.requests("vmstate=1"), 1);
    assert_eq!(cluster.requests("type=storage"), 3, "each guest's turn asks anew");
    cluster.run("create --vmid 100 --label other").exits(0);
}

#[test]
fn a_rollback_is_agreed_to_and_goes_to_that_snapshot_only() {
    let cluster = Cluster::of(vec![with(guest(100), json!({"snapshots": three()}))]);
    let words = "rollback --vmid 100 --name autodaily260102000000";
    cluster.run(words).exits(2).complains(&["--yes"]);
    cluster
        .run(&format!("{words} -n"))
        .exits(0)
        .says(&["roll back guest", "everything written since is lost"]);
    assert_eq!(cluster.requests("POST"), 0);
    cluster
        .run(&format!("{words} --yes"))
        .exits(0)
        .says(&["rolled back to snapshot autodaily260102000000"]);
    assert_eq!(cluster.guest(100)["rolled_back_to"], "autodaily260102000000");
    cluster.run("rollback --yes --vmid 100 --name nix").exits(1).says(&["no snapshot \"nix\""]);
    cluster.run("rollback --yes --vmid 999 --name nix").exits(4);
}

#[test]
fn a_rollback_has_the_hooks_of_a_run_and_of_a_turn_and_each_no_leaves_the_guest_as_it_is() {
    let words = "rollback --vmid 100 --name autodaily260102000000 --yes --script DIR/script";
    let cluster = Cluster::of(vec![with(guest(100), json!({"snapshots": three()}))]);
    let heard = || {
        let heard = fs::read_to_string(cluster.path("heard")).unwrap_or_default();
        let _ = fs::remove_file(cluster.path("heard"));
        heard
    };
    for no in ["job-start", "guest-start", "guest-end"] {
        script(&cluster, no);
        let is_done = no == "guest-end";
        let said = cluster.run(words).exits(if is_done { 0 } else { 1 });
        assert!(said.stdout.contains(no) || said.stderr.contains(no), "{said:?}");
        assert_eq!(cluster.requests("POST"), usize::from(is_done), "{no}");
        let expected = match no {
            "job-start" => "job-start\njob-abort\n",
            "guest-start" => "job-start\nguest-start 100\nguest-abort 100\njob-end\n",
            _ => "job-start\nguest-start 100\nguest-end 100\njob-end\n",
        };
        assert_eq!(heard(), expected);
    }
    cluster.run(&format!("{words} -n")).exits(0);
    cluster.run(&words.replace("260102", "270101")).exits(1).says(&["no snapshot"]);
    cluster.run(&words.replace("--yes", "")).exits(2);
    assert_eq!(heard(), "", "what is refused or not done calls none");
}

/// Writes a hook that notes phase and guest, and says no in one phase.
fn script(cluster: &Cluster, no: &str) {
    use std::os::unix::fs::PermissionsExt as _;
    let heard = cluster.path("heard");
    let text =
        format!("#!/bin/sh\necho $1 $PVE_FERRY_VMID >> {}\n[ $1 != {no} ]\n", heard.display());
    fs::write(cluster.path("script"), text).unwrap();
    fs::set_permissions(cluster.path("script"), fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn a_guest_whose_node_is_down_is_not_said_to_have_no_such_snapshot() {
    let dead = json!({"snapshots": three(), "status": "unknown"});
    let cluster = Cluster::of(vec![with(guest(100), dead)]);
    let said = cluster.run("rollback --vmid 100 --name autodaily260102000000 --yes").exits(1);
    said.says(&["its node is offline or does not answer", "nothing was changed"]);
}

#[test]
fn what_became_of_a_snapshot_since_it_was_planned_is_seen_before_it_is_touched() {
    let name = "autodaily260102000000";
    let same = snapshot(name, 2000);
    let another = "another snapshot bears that name now; nothing was changed";
    let cases = [
        (json!([snapshot(name, 2001)]), another),
        (json!([with(same.clone(), json!({"description": "by hand"}))]), another),
        (json!([with(same, json!({"snapstate": "delete"}))]), "not whole any more (state delete)"),
        (json!([]), "gone"),
    ];
    for (then, why) in cases {
        let changed = json!({"snapshots": three(), "snapshots_then": then});
        // A rollback is planned twice: for the question, and in its turn.
        let later = with(changed.clone(), json!({"listed_before": 2}));
        let cluster = Cluster::of(vec![with(guest(100), later)]);
        let said = cluster.run(&format!("rollback --vmid 100 --name {name} --yes")).exits(1);
        said.says(&["roll back guest", why]);
        assert_eq!(cluster.requests("POST"), 0, "{why}");
        let cluster = Cluster::of(vec![with(guest(100), changed)]);
        // What is gone already is what a removal wants.
        let code = if why == "gone" { 0 } else { 1 };
        cluster.run("prune --vmid 100 --label daily --keep 1").exits(code).says(&[why]);
        assert_eq!(cluster.requests("DELETE"), 0, "{why}");
    }
}

#[test]
fn a_snapshot_that_was_made_anew_after_the_rollback_was_planned_is_a_conflict() {
    let then = json!([snapshot("autodaily260102000000", 2001)]);
    let changed = json!({"snapshots": three(), "snapshots_then": then});
    let cluster = Cluster::of(vec![with(guest(100), changed)]);
    script(&cluster, "none");
    let words = "rollback --vmid 100 --name autodaily260102000000 --yes --script DIR/script";
    cluster.run(words).exits(13).says(&["was not shown before the question", "run it again"]);
    assert_eq!(cluster.requests("POST"), 0);
    let heard = fs::read_to_string(cluster.path("heard")).unwrap();
    assert_eq!(heard, "job-start\nguest-abort 100\njob-end\n");
}

#[test]
fn hooks_hear_of_a_new_snapshot_when_the_old_ones_are_gone_and_not_when_one_of_them_stays() {
    let broken = json!({"snapshots": three(), "delete_fails": "storage is busy"});
    let cluster = Cluster::of(vec![with(guest(100), broken)]);
    script(&cluster, "none");
    let words = "create --vmid 100 --label daily --keep 2 --script DIR/script";
    cluster.run(words).exits(1).says(&["made snapshot", "storage is busy"]);
    let heard = fs::read_to_string(cluster.path("heard")).unwrap();
    let expected = "job-start guest-start 100 snap-create-pre 100 snap-remove-pre 100 \
                    snap-remove-abort 100 guest-abort 100 job-end";
    assert_eq!(heard.split_whitespace().collect::<Vec<_>>().join(" "), expected);
}

#[test]
fn a_hook_that_stops_a_removal_leaves_the_new_snapshot_and_that_is_said() {
    let cluster = Cluster::of(vec![with(guest(100), json!({"snapshots": three()}))]);
    script(&cluster, "snap-remove-pre");
    let words = "create --vmid 100 --label daily --keep 2 --script DIR/script";
    let said = cluster.run(words).exits(1);
    said.says(&["made snapshot", "the new snapshot is made", "in phase snap-remove-pre"]);
    assert_eq!((cluster.snapshots(100).len(), cluster.requests("DELETE")), (4, 0));
}

#[test]
fn a_stranger_is_not_trusted_and_is_named() {
    let cluster = Cluster::of(vec![guest(100)]);
    let login = format!("--host {} --api-token file:DIR/token", cluster.hosts());
    let run = |words: &str| cluster.plain(&format!("snap list --vmid all {login} {words}"));
    let wrong = "00".repeat(32);
    let said = run(&format!("--fingerprint {wrong}")).exits(1);
    let said = said.complains(&["is not the pinned 00:00:"]);
    let seen =
        said.stderr.split("fingerprint ").nth(1).unwrap().split(',').next().unwrap().to_owned();
    run("").exits(1).complains(&["is not trusted", &seen, "pvenode cert info"]);
    assert_eq!(cluster.log(), "", "no request and no token was sent");
    run(&format!("--fingerprint {seen}")).exits(0);
    run("--no-verify-ssl").exits(0).complains(&["warning"]);
    cluster.plain("snap list --vmid all").exits(2).complains(&["no PVE node", "--host"]);
}

#[test]
fn the_doctor_names_what_is_missing_and_the_commands_that_grant_it() {
    let granted =
        json!({"/": {"VM.Audit": 1, "VM.Snapshot": 1, "Datastore.Audit": 1, "Pool.Audit": 1}});
    for (permissions, code, text) in [
        (granted, 0, "suffice"),
        (json!({"/vms": {"VM.Audit": 1}}), 1, "missing on /vms: VM.Snapshot"),
    ] {
        let cluster = Cluster::like(json!({"guests": [], "permissions": permissions}), 1);
        let login =
            format!("--host {} --api-token file:DIR/token --ca-file {TLS}/ca.pem", cluster.hosts());
        cluster.plain(&format!("doctor --role snapshot {login}")).exits(code).says(&[text]);
        cluster.plain("doctor --role snapshot").exits(0).says(&["pveum role add", "VM.Snapshot"]);
    }
}

/// On a node there are no credentials: `pvesh` answers, on the guest's own node.
mod on_a_node {
    use crate::env::Env;
    use std::fs;

    #[test]
    fn pvesh_makes_lists_and_removes_on_the_node_of_the_guest() {
        let env = Env::with_disks(1);
        env.add_guest(101, 1);
        let here = env.path("etc/nodes/pve1/qemu-server/101.conf");
        fs::rename(here, env.path("etc/nodes/pve2/qemu-server/101.conf")).unwrap();
        fs::write(
            env.path("etc/.members"),
            r#"{"nodename": "pve1", "nodelist": {"pve2": {"id": 2, "online": 1, "ip": "pve2"}}}"#,
        )
        .unwrap();
        let said = env.run("snapshot create --vmid all --label daily --keep 1").exits(0);
        said.says(&["2 of 2 guests ok", "made snapshot autodaily"]);
        let format = "--timestamp-format yyyy-MM-dd_HHmmss";
        env.run(&format!("snapshot create --vmid 100 --label hourly {format}")).exits(0);
        let list = env.run("snapshot list --vmid 101 -o json").exits(0).json();
        assert_eq!(
            (&list[0]["NODE"], &list[0]["DESCRIPTION"]),
            (&"pve2".into(), &"cv4pve-autosnap".into())
        );
        env.run("snapshot prune --vmid all --label daily --keep 0 --yes")
            .exits(0)
            .says(&["removed snapshot"]);
        let order = env.order();
        assert!(order.contains("pvesh delete /nodes/pve2/qemu/101/snapshot/autodaily"), "{order}");
        let list = env.run("snapshot list --all --vmid all -o json").exits(0).json();
        assert_eq!(list.as_array().unwrap().len(), 1, "the other label stays: {list}");
        env.assert_expected();
    }

    #[test]
    fn as23_pvesh_is_asked_what_can_be_snapshotted() {
        let env = Env::with_disks(1);
        env.add_guest(101, 1);
        let path = env.path("etc/storage.cfg");
        let text = fs::read_to_string(&path).unwrap()
            + "\ndir: local\n\tpath /var/lib/vz\n\tcontent images\n";
        fs::write(&path, text).unwrap();
        let path = env.path("etc/nodes/pve1/qemu-server/101.conf");
        let text =
            fs::read_to_string(&path).unwrap() + "scsi7: local:101/vm-101-disk-7.raw,backup=0\n";
        fs::write(&path, text).unwrap();
        let said = env.run("snapshot create --vmid all --label daily").exits(3);
        said.says(&["scsi7 is raw on storage local (dir)", "1 of 2 guests ok"]);
        let order = env.order();
        assert!(
            order.contains("pvesh get /nodes/pve1/qemu/101/feature --feature snapshot"),
            "{order}"
        );
        assert!(!order.contains("pvesh create /nodes/pve1/qemu/101"), "{order}");
        env.assert_expected();
    }

    #[test]
    fn the_end_of_the_task_counts_and_not_that_of_pvesh() {
        let env = Env::with_disks(1);
        fs::create_dir_all(env.path("state/100")).unwrap();
        fs::write(env.path("state/100/snapshot-fails"), "snapshot feature is not available")
            .unwrap();
        let said = env.run("snapshot create --vmid 100 --label daily --keep 1").exits(1);
        said.says(&["snapshot feature is not available", "UPID:pve1"]);
        env.assert_expected();
    }
}

/// `/cluster/resources` is fed by pvestatd; five minutes after it died all guests of its node are unknown.
#[test]
fn guests_of_a_node_whose_pvestatd_is_dead_are_asked_for_on_the_node_itself() {
    let stale = |vmid| with(guest(vmid), json!({"pvestatd": "dead", "tags": "prod"}));
    let cluster = Cluster::of(vec![stale(100), stale(101)]);
    cluster.run("create --label daily --vmid @tag-prod").exits(0).says(&["2 of 2 guests ok"]);
    assert_eq!((cluster.snapshots(100).len(), cluster.snapshots(101).len()), (1, 1));
    let list = cluster.run("list --vmid web100").exits(0);
    list.says(&["autodaily"]);
}

#[test]
fn a_snapshot_that_pve_never_finished_is_listed_as_such() {
    let half = json!({"name": "autodaily260101020000", "snaptime": 1_767_225_600,
        "description": "cv4pve-autosnap", "snapstate": "prepare"});
    let cluster = Cluster::of(vec![with(guest(100), json!({"snapshots": [half]}))]);
    cluster.run("list --vmid 100").exits(0).says(&["(not finished: prepare) cv4pve-autosnap"]);
}
