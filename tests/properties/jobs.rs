//! Jobs through their files and back: what was defined is what is read, whatever stands in it.

// A helper of a test may fail as loudly as the test itself.
#![allow(clippy::unwrap_used)]

use proptest::prelude::*;
use pve_ferry::job::cover::Severity;
use pve_ferry::job::cron_check::{CronFacts, CronState, compare};
use pve_ferry::job::crontab::{is_edited, line, lines, rendered};
use pve_ferry::job::schedule::Schedule;
use pve_ferry::job::words::{joined, split};
use pve_ferry::job::{Job, JobName, Runner};
use pve_ferry::model::Moment;
use pve_ferry::pve::JobsCfg;
use pve_ferry::pve::jobs_cfg::{section, with_job};

/// Values with all that has a meaning to somebody: blanks, quotes, `%`, `#`, umlauts, dashes.
fn value() -> impl Strategy<Value = String> {
    "[-a-z0-9 '\"%#\\\\$`;:/,=äÖß€\u{a0}\t]{1,20}".prop_map(|text| text.trim().to_owned())
}

fn field(low: u32, high: u32) -> impl Strategy<Value = String> {
    let number = low..=high;
    let range = (low..=high, low..=high, 1..9_u32)
        .prop_map(|(a, b, step)| format!("{}-{}/{step}", a.min(b), a.max(b)));
    let item = prop_oneof![number.prop_map(|n| n.to_string()), range];
    prop_oneof![
        Just("*".to_owned()),
        (1..30_u32).prop_map(|step| format!("*/{step}")),
        proptest::collection::vec(item, 1..4).prop_map(|items| items.join(",")),
    ]
}

fn schedule() -> impl Strategy<Value = String> {
    let fields = (field(0, 59), field(0, 23), field(1, 31), field(1, 12), field(0, 7));
    let cron = fields.prop_map(|(a, b, c, d, e)| format!("{a} {b} {c} {d} {e}"));
    prop_oneof![
        cron,
        proptest::sample::select(vec!["hourly", "daily", "weekly", "monthly"])
            .prop_map(String::from)
    ]
}

fn job() -> impl Strategy<Value = Job> {
    let option = ("[a-z]{1,3}x[a-z-]{0,3}", value());
    let facts = (
        "[a-z][a-z0-9_-]{0,39}",
        schedule(),
        proptest::option::of("[a-z]{1,8}"),
        any::<[bool; 2]>(),
        proptest::option::of(value().prop_filter("a comment is not empty", |v| !v.is_empty())),
        proptest::collection::vec(option, 0..5),
    );
    facts.prop_map(|(name, schedule, node, [enabled, timed], comment, options)| Job {
        name: name.parse().unwrap(),
        operation: "backup".into(),
        schedule: schedule.parse().unwrap(),
        node,
        enabled,
        runner: if timed { Runner::Systemd } else { Runner::Cron },
        comment,
        options,
    })
}

proptest! {
    #[test]
    fn jobs_cfg_gives_back_what_was_defined(jobs in proptest::collection::vec(job(), 1..6)) {
        let mut text = String::from("# a comment of the administrator\n\n");
        let mut last: Vec<Job> = Vec::new();
        for job in &jobs {
            text = with_job(&text, &job.name, Some(job)).unwrap();
            last.retain(|other| other.name != job.name);
            last.push(job.clone());
        }
        let cfg = JobsCfg::parse(&text);
        prop_assert_eq!(&cfg.damaged, &vec![]);
        prop_assert!(text.starts_with("# a comment of the administrator\n"));
        for job in &last {
            prop_assert_eq!(cfg.job(&job.name), Some(job), "{}", text);
        }
        prop_assert_eq!(cfg.jobs.len(), last.len());
        // Taking all of them out again leaves what was there.
        for job in &last {
            text = with_job(&text, &job.name, None).unwrap();
        }
        prop_assert_eq!(text.trim_end(), "# a comment of the administrator");
    }

    #[test]
    fn changing_one_job_leaves_the_others_alone(mut jobs in proptest::collection::vec(job(), 2..6), new in job()) {
        jobs.sort_by(|a, b| a.name.cmp(&b.name));
        jobs.dedup_by(|a, b| a.name == b.name);
        let mut text = String::new();
        for job in &jobs {
            text = with_job(&text, &job.name, Some(job)).unwrap();
        }
        let changed = Job { name: jobs[0].name.clone(), ..new };
        let text = with_job(&text, &changed.name, Some(&changed)).unwrap();
        let cfg = JobsCfg::parse(&text);
        prop_assert_eq!(cfg.job(&changed.name), Some(&changed));
        for job in &jobs[1..] {
            prop_assert_eq!(cfg.job(&job.name), Some(job));
        }
    }

    #[test]
    fn arbitrary_text_in_jobs_cfg_harms_nothing(text in "[ -~\n\t:äß]{0,200}", job in job()) {
        let name: JobName = job.name.clone();
        let with = with_job(&text, &name, Some(&job)).unwrap();
        prop_assert_eq!(JobsCfg::parse(&with).job(&name).cloned(), Some(job.clone()), "{}", with);
        let without = with_job(&with, &name, None).unwrap();
        prop_assert_eq!(JobsCfg::parse(&without).job(&name).cloned(), None);
    }

    #[test]
    fn a_value_that_would_change_is_refused(mut job in job(), value in "[ \t\r\na-z\u{a0}]{0,6}") {
        job.options = vec![("xx".into(), value.clone())];
        if let Ok(text) = section(&job) {
            prop_assert_eq!(JobsCfg::parse(&text).job(&job.name).cloned(), Some(job.clone()), "{:?}", value);
        }
    }

    #[test]
    fn the_cron_file_holds_exactly_the_jobs_of_its_node(jobs in proptest::collection::vec(job(), 0..6)) {
        let text = rendered(&jobs, &[], "a");
        prop_assert!(text.ends_with('\n') && !is_edited(&text));
        let found: Vec<(String, String)> = lines(&text)
            .into_iter()
            .filter(|line| line.enabled)
            .map(|line| (line.schedule.fields().to_owned(), line.rest))
            .collect();
        let ours = |job: &&Job| job.enabled && job.runner == Runner::Cron && job.runs_on("a");
        let mut expected = vec![("*/5 * * * *".to_owned(), "root pve-ferry job render --quiet".to_owned())];
        expected.extend(jobs.iter().filter(ours).map(|job| {
            (job.schedule.fields().to_owned(), format!("root pve-ferry job run {} --scheduled", job.name))
        }));
        prop_assert_eq!(found, expected, "{}", text);
    }

    #[test]
    fn no_line_of_the_cron_file_goes_or_comes_unnoticed(
        jobs in proptest::collection::vec(job(), 0..5),
        at in 0..1000_usize,
        more in "[-#@*0-9a-zA-Z=/ äß]{0,30}",
    ) {
        let wanted = rendered(&jobs, &[], "a");
        let facts = |found| {
            CronFacts { path: "/c", found: Some(found), refused: None, wanted: &wanted, changed_ago: Some(0) }
        };
        prop_assert_eq!(compare(&facts(&wanted)), None);
        let lines: Vec<&str> = wanted.lines().collect();
        let at = at % lines.len();
        let without = [&lines[..at], &lines[at + 1..], &[""]].concat().join("\n");
        let found = compare(&facts(&without));
        prop_assume!(without != wanted);
        let found = found.unwrap();
        prop_assert_eq!(found.state, CronState::Edited);
        let job = lines[at].split("root pve-ferry job run ").nth(1);
        let not_run: Vec<String> = found.not_run.iter().map(ToString::to_string).collect();
        match job.and_then(|rest| rest.strip_suffix(" --scheduled")) {
            // Two jobs of one name do not stand in jobs.cfg.
            Some(name) if jobs.iter().filter(|job| job.name.as_str() == name).count() == 1 => {
                prop_assert_eq!((found.severity(), not_run), (Severity::Critical, vec![name.to_owned()]));
            }
            _ => prop_assert!(found.severity() >= Severity::Warning),
        }
        let with = [&lines[..at], &[more.as_str()], &lines[at..], &[""]].concat().join("\n");
        let found = compare(&facts(&with)).unwrap();
        prop_assert_eq!(found.state, CronState::Edited);
        prop_assert!(found.severity() >= Severity::Warning && !found.differences.is_empty());
    }

    #[test]
    fn a_command_in_a_cron_line_comes_back(command in "[a-z'\"][ -~äß]{0,30}") {
        let text = line("0 0 * * *", command.trim_end());
        let found = lines(&text);
        prop_assert_eq!(found.len(), 1);
        prop_assert_eq!(&found[0].rest, &format!("root {}", command.trim_end()));
    }

    #[test]
    fn words_are_split_as_they_were_joined(words in proptest::collection::vec("[ -~äß\n\t]{0,12}", 1..6)) {
        prop_assert_eq!(split(&joined(&words)).unwrap().commands, vec![words]);
    }

    #[test]
    fn a_schedule_is_read_as_it_is_written_and_its_next_time_lies_ahead(
        text in schedule(), now in 0..4_000_000_000_i64
    ) {
        let schedule: Schedule = text.parse().unwrap();
        prop_assert_eq!(&schedule.to_string().parse::<Schedule>().unwrap(), &schedule);
        prop_assert_eq!(schedule.fields().split(' ').count(), 5);
        let now = Moment::from_unix(now);
        if let Some(next) = schedule.next_after(now, &jiff::tz::TimeZone::UTC) {
            prop_assert!(next > now && next.unix() % 60 == 0);
        }
        schedule.in_words();
    }
}
