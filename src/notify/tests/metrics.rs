//! Tests of what is told to databases of metrics: lines for InfluxDB and files for Prometheus. Not for
//! what people read.

use super::*;

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
fn no_link_that_another_user_planted_beside_the_metrics_file_is_written_or_read_through() {
    use std::os::unix::fs::{PermissionsExt as _, symlink};
    let dir = tempfile::tempdir().unwrap();
    let secret = dir.path().join("secret");
    let point = "pve_ferry_last_good_point_timestamp_seconds{vmid=\"101\",a=\"s3cret\"} 1\n";
    std::fs::write(&secret, point).unwrap();
    std::fs::set_permissions(&secret, std::fs::Permissions::from_mode(0o600)).unwrap();
    let directory = dir.path().join("node-exporter");
    std::fs::create_dir(&directory).unwrap();
    // The name with the process id, which could be guessed, and the metrics file itself.
    let name = "pve-ferry_backup_daily.prom";
    symlink(&secret, directory.join(format!("{name}.{}", std::process::id()))).unwrap();
    symlink(&secret, directory.join(name)).unwrap();
    prometheus::Target { directory: directory.clone() }.tell(&occasion(), &cleaned()).unwrap();
    assert_eq!(std::fs::read_to_string(&secret).unwrap(), point);
    assert_eq!(std::fs::metadata(&secret).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(std::fs::symlink_metadata(directory.join(name)).unwrap().is_file());
    assert!(!std::fs::read_to_string(directory.join(name)).unwrap().contains("s3cret"));
    // A pipe would have been waited for without end.
    let pipe = nix::unistd::mkfifo(
        &directory.join("pve-ferry_backup_pipe.prom"),
        nix::sys::stat::Mode::S_IRWXU,
    );
    pipe.unwrap();
    assert!(prometheus::Target { directory }.remove_stale(&|_, _| true).is_empty());
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
