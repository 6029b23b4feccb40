//! Retention against PVE's: the tables of its own tests and of Proxmox Backup Server's, a second
//! implementation that shares no line with ours, and, where its file is at hand, PVE's Perl itself.
//!
//! `PVE_FERRY_PVE_STORAGE_PM=/usr/share/perl5/PVE/Storage.pm cargo test --test properties retention`
//! on a node, or with `src/PVE/Storage.pm` out of the sources of pve-storage.
#![allow(clippy::unwrap_used, clippy::panic)]

use jiff::Timestamp;
use jiff::tz::TimeZone;
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::TestRunner;
use pve_ferry::clock::zone;
use pve_ferry::model::Moment;
use pve_ferry::retention::{Calendar, Item, Rules, Verdict, judge};
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io::Write as _;
use std::process::{Command, Stdio};

const ZONES: [&str; 7] = [
    "UTC",
    "Europe/Berlin",
    "America/New_York",
    "America/St_Johns",
    "Australia/Lord_Howe",
    "Asia/Kathmandu",
    "Pacific/Auckland",
];

/// The rules of PVE, in the order in which it applies them.
const RULES: [&str; 6] =
    ["keep-last", "keep-hourly", "keep-daily", "keep-weekly", "keep-monthly", "keep-yearly"];

/// Backups of one guest, the oldest first, and what is to be kept.
#[derive(Debug, Clone)]
struct Case {
    zone: &'static str,
    /// The number of each of [`RULES`].
    numbers: [u32; 6],
    /// The moment of each, and whether it is protected.
    points: Vec<(i64, bool)>,
}

impl Case {
    fn rules(&self) -> String {
        let entry = |(name, number): (&&str, &u32)| format!("{name}={number}");
        RULES.iter().zip(&self.numbers).map(entry).collect::<Vec<_>>().join(",")
    }
}

fn seconds(text: &str) -> i64 {
    text.parse::<Timestamp>().unwrap().as_second()
}

/// What we keep: one letter for each point.
fn ours(zone_name: &str, rules: &str, points: &[(i64, bool)]) -> Vec<bool> {
    let calendar = Calendar::of(zone(zone_name).unwrap());
    let mut parsed = Rules { calendar, ..Rules::default() };
    parsed.add_prune_backups(rules).unwrap();
    let item = |(n, (time, protected)): (usize, &(i64, bool))| Item {
        seq: n as u64 + 1,
        moment: Moment::from_unix(*time),
        protected: *protected,
        is_base: n == 0,
        failed: false,
        incomplete: false,
        is_new: false,
        bytes: 1,
    };
    let items: Vec<Item> = points.iter().enumerate().map(item).collect();
    let now = Moment::from_unix(i64::MAX);
    judge(&items, &parsed, now).verdicts.iter().map(Verdict::keeps).collect()
}

fn in_words(keeps: &[bool]) -> String {
    keeps.iter().map(|keeps| if *keeps { 'k' } else { '-' }).collect()
}

fn table(rules: &str, points: &[&str], expected: &str) {
    let time = |text: &&str| match text.strip_prefix('*') {
        Some(protected) => (seconds(protected), true),
        None => (seconds(text), false),
    };
    let points: Vec<(i64, bool)> = points.iter().map(time).collect();
    assert_eq!(in_words(&ours("UTC", rules, &points)), expected, "{rules}");
}

/// `src/test/prune_backups_test.pm` of pve-storage: its dates, rules and marks. The one with a star is
/// protected.
#[test]
fn the_tables_of_pve_come_out_as_there() {
    let points = [
        "2018-05-26T11:18:21Z",
        "2019-12-31T11:18:21Z",
        "*2019-12-31T11:18:51Z",
        "2019-12-31T11:19:21Z",
        "2020-01-01T11:18:21Z",
        "2020-01-01T12:18:21Z",
    ];
    let rows = [
        ("keep-last=3", "--kkkk"),
        ("keep-weekly=2", "k-k--k"),
        ("keep-hourly=0,keep-daily=1,keep-weekly=1,keep-monthly=1", "k-kk-k"),
        ("keep-hourly=4,keep-daily=0", "k-kkkk"),
        ("keep-hourly=0,keep-daily=0,keep-weekly=0,keep-monthly=0,keep-yearly=2", "--kk-k"),
        ("keep-last=2,keep-hourly=2", "k-kkkk"),
        ("keep-last=1,keep-monthly=2", "k-kk-k"),
        ("keep-monthly=3", "k-kk-k"),
        ("keep-last=1,keep-daily=1,keep-weekly=1", "k-kk-k"),
        (
            "keep-hourly=0,keep-last=1,keep-daily=1,keep-weekly=1,keep-monthly=0,keep-yearly=0",
            "k-kk-k",
        ),
        ("keep-daily=2", "--kk-k"),
        ("keep-weekly=1,keep-monthly=1", "k-k--k"),
        ("keep-weekly=1,keep-yearly=1", "k-k--k"),
        ("keep-last=0,keep-hourly=0,keep-daily=0,keep-weekly=0,keep-yearly=0", "kkkkkk"),
        ("keep-last=0,keep-hourly=0,keep-daily=0,keep-yearly=0", "kkkkkk"),
    ];
    for (rules, expected) in rows {
        table(rules, &points, expected);
    }
    let year = ["1970-01-01T00:01:23Z", "2070-01-01T00:01:00Z"];
    table("keep-yearly=1", &year, "-k");
    let three = ["2019-12-25T12:18:21Z", "2019-12-31T12:18:21Z", "2020-01-01T12:18:21Z"];
    table("keep-daily=1,keep-weekly=1,keep-monthly=1", &three, "k-k");
    let week = ["2020-12-03T12:18:21Z", "2020-12-04T12:18:21Z", "2020-12-07T12:18:21Z"];
    table("keep-daily=1,keep-weekly=1", &week, "-kk");
}

/// `tests/prune.rs` of Proxmox Backup Server. Its `keep-last=0` alone removes everything there, as its
/// callers do not call it without a rule; here it keeps everything, as it does for them.
#[test]
fn the_tables_of_proxmox_backup_server_come_out_as_there() {
    let hours = [
        "2019-11-15T09:39:15Z",
        "2019-11-15T10:49:15Z",
        "2019-11-15T10:59:15Z",
        "2019-11-15T11:39:15Z",
        "2019-11-15T11:49:15Z",
        "2019-11-15T11:59:15Z",
    ];
    table("keep-hourly=3", &hours, "k-k--k");
    table("keep-hourly=2", &hours, "--k--k");
    let sparse = [
        "2018-11-15T11:59:15Z",
        "2019-11-15T11:59:15Z",
        "2019-11-21T11:59:15Z",
        "2019-11-22T11:59:15Z",
        "2019-11-29T11:59:15Z",
        "2019-12-01T11:59:15Z",
        "2019-12-02T11:59:15Z",
        "2019-12-03T11:59:15Z",
        "2019-12-04T11:59:15Z",
    ];
    table("keep-daily=1", &sparse, "--------k");
    table("keep-last=1,keep-daily=1", &sparse, "-------kk");
    table("keep-daily=1,keep-weekly=1", &sparse, "-----k--k");
    table("keep-daily=1,keep-weekly=1,keep-monthly=1", &sparse, "---k-k--k");
    table("keep-monthly=1,keep-yearly=1", &sparse, "k-------k");
    let days = [
        "2019-12-02T11:59:15Z",
        "2019-12-03T11:59:15Z",
        "2019-12-04T11:59:15Z",
        "2019-12-04T12:59:15Z",
    ];
    for (rules, expected) in [
        ("keep-last=4", "kkkk"),
        ("keep-last=3", "-kkk"),
        ("keep-last=2", "--kk"),
        ("keep-last=1", "---k"),
        ("keep-last=0", "kkkk"),
        ("keep-last=2,keep-daily=2", "kkkk"),
        ("keep-daily=3", "kk-k"),
        ("keep-daily=2", "-k-k"),
        ("keep-weekly=5", "---k"),
        ("keep-daily=1,keep-weekly=5", "---k"),
        ("keep-monthly=6", "---k"),
        ("keep-yearly=7", "---k"),
        ("keep-weekly=5,keep-monthly=6,keep-yearly=7", "---k"),
    ] {
        table(rules, &days, expected);
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Mark {
    Keep,
    Passed,
}

/// The period of a moment as numbers of its local date, by the place of the rule in [`RULES`].
fn period(rule: usize, time: i64, zone: &TimeZone) -> Vec<i64> {
    let local = Timestamp::from_second(time).unwrap().to_zoned(zone.clone());
    let (year, month, day) = (local.year().into(), local.month().into(), local.day().into());
    match rule {
        0 => vec![time],
        1 => vec![year, month, day, local.hour().into()],
        2 => vec![year, month, day],
        3 => {
            let week = local.date().iso_week_date();
            vec![week.year().into(), week.week().into()]
        }
        4 => vec![year, month],
        _ => vec![year],
    }
}

/// PVE's rules once more, by marks on a list, as its documentation describes them.
fn by_marks(case: &Case) -> Vec<bool> {
    if case.numbers.iter().all(|number| *number == 0) {
        return vec![true; case.points.len()];
    }
    let zone = zone(case.zone).unwrap();
    let mut marks: Vec<Option<Mark>> = vec![None; case.points.len()];
    let newest_first: Vec<usize> =
        (0..case.points.len()).rev().filter(|i| !case.points[*i].1).collect();
    for (rule, number) in case.numbers.iter().enumerate() {
        let of = |i: usize| period(rule, case.points[i].0, &zone);
        let kept: BTreeSet<Vec<i64>> = newest_first
            .iter()
            .filter(|i| marks[**i] == Some(Mark::Keep))
            .map(|i| of(*i))
            .collect();
        let mut added: Vec<Vec<i64>> = Vec::new();
        for i in &newest_first {
            let own = of(*i);
            if marks[*i].is_some() || kept.contains(&own) {
                continue;
            }
            if added.contains(&own) {
                marks[*i] = Some(Mark::Passed);
            } else if added.len() < *number as usize {
                marks[*i] = Some(Mark::Keep);
                added.push(own);
            } else {
                break;
            }
        }
    }
    let keeps = |(mark, (_, protected)): (&Option<Mark>, &(i64, bool))| {
        *protected || *mark == Some(Mark::Keep)
    };
    marks.iter().zip(&case.points).map(keeps).collect()
}

/// Sets of points around days on which clocks change somewhere, and around turns of ISO years.
fn any_case() -> impl Strategy<Value = Case> {
    let anchor = prop::sample::select(vec![
        "2025-10-26T01:00:00Z",
        "2026-03-29T01:00:00Z",
        "2026-11-01T06:00:00Z",
        "2026-03-08T07:00:00Z",
        "2026-04-04T15:00:00Z",
        "2025-09-27T14:00:00Z",
        "2020-12-31T12:00:00Z",
        "2024-02-29T12:00:00Z",
    ]);
    let near = -3 * 24 * 60..3 * 24 * 60_i64;
    let far = -700 * 24 * 60..700 * 24 * 60_i64;
    let minutes = prop_oneof![3 => near, 1 => -40 * 24 * 60..40 * 24 * 60_i64, 1 => far];
    let point = (minutes, prop::bool::weighted(0.1));
    let number = prop_oneof![3 => Just(0), 3 => 1..4_u32, 1 => 4..30_u32];
    (
        prop::sample::select(ZONES.to_vec()),
        prop::array::uniform6(number),
        anchor,
        prop::collection::btree_map(point.0, point.1, 1..40),
    )
        .prop_map(|(zone, numbers, anchor, points)| {
            let begin = seconds(anchor);
            let point = |(minutes, protected)| (begin + minutes * 60, protected);
            Case { zone, numbers, points: points.into_iter().map(point).collect() }
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]
    #[test]
    fn what_we_keep_is_what_pve_keeps_in_every_time_zone(case in any_case()) {
        let found = ours(case.zone, &case.rules(), &case.points);
        prop_assert_eq!(in_words(&found), in_words(&by_marks(&case)));
    }
}

/// In Berlin the hour from two to three came twice on 26 October 2025 and never on 29 March 2026.
#[test]
fn the_hour_that_comes_twice_is_one_and_a_day_is_a_day_of_the_clock_on_the_wall() {
    let at = |texts: &[&str]| texts.iter().map(|t| (seconds(t), false)).collect::<Vec<_>>();
    let twice = at(&["2025-10-26T00:30:00Z", "2025-10-26T01:30:00Z", "2025-10-26T02:30:00Z"]);
    assert_eq!(in_words(&ours("Europe/Berlin", "keep-hourly=9", &twice)), "-kk");
    assert_eq!(in_words(&ours("UTC", "keep-hourly=9", &twice)), "kkk");
    // 23:30 of one day and 00:30 of the next, summer time and winter time.
    let nights = at(&["2025-10-24T21:30:00Z", "2025-10-24T22:30:00Z", "2025-10-26T22:30:00Z"]);
    assert_eq!(in_words(&ours("Europe/Berlin", "keep-daily=3", &nights)), "kkk");
    assert_eq!(in_words(&ours("UTC", "keep-daily=3", &nights)), "-kk");
    let spring = at(&["2026-03-28T23:30:00Z", "2026-03-29T21:30:00Z", "2026-03-29T22:30:00Z"]);
    assert_eq!(in_words(&ours("Europe/Berlin", "keep-daily=3", &spring)), "-kk");
}

/// Runs PVE's function on lines of cases; a line of marks comes back for each.
const HARNESS: &str = r#"
use strict; use warnings; use POSIX qw(strftime tzset);
open(my $file, '<', $ARGV[0]) or die "no $ARGV[0]: $!\n";
my $text = do { local $/; <$file> };
my ($mark) = $text =~ /^(my \$prune_mark = sub \{.*?^\};)/ms or die "no prune_mark there\n";
my ($group) = $text =~ /^(sub prune_mark_backup_group \{.*?^\})/ms or die "no group there\n";
eval "$mark\n$group\n1" or die $@;
while (my $line = <STDIN>) {
    chomp $line;
    my ($zone, $rules, $points) = split(/ /, $line, 3);
    $ENV{TZ} = $zone; tzset();
    my %keep = map { split(/=/, $_) } split(/,/, $rules);
    my @list = map { /^(\d+)(p?)$/; { ctime => $1, $2 ? (mark => 'protected') : () } } split(/ /, $points);
    prune_mark_backup_group([@list], \%keep);
    print join('', map { $_->{mark} eq 'remove' ? '-' : 'k' } @list), "\n";
}
"#;

// The oracle is a program of its own; no run of ours starts it.
#[allow(clippy::disallowed_methods)]
fn marks_of_perl(storage_pm: &std::ffi::OsStr, cases: &[Case]) -> String {
    let mut input = String::new();
    for case in cases {
        let point = |(time, protected): &(i64, bool)| {
            format!("{time}{}", if *protected { "p" } else { "" })
        };
        let points: Vec<String> = case.points.iter().map(point).collect();
        writeln!(input, "{} {} {}", case.zone, case.rules(), points.join(" ")).unwrap();
    }
    let mut perl = Command::new("perl");
    let perl = perl.arg("-e").arg(HARNESS).arg(storage_pm);
    let mut child = perl.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let writer = std::thread::spawn(move || stdin.write_all(input.as_bytes()).unwrap());
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    assert!(output.status.success(), "perl: {}", output.status);
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn the_perl_of_pve_marks_the_same_points() {
    let Some(storage_pm) = std::env::var_os("PVE_FERRY_PVE_STORAGE_PM") else {
        println!("left out: set PVE_FERRY_PVE_STORAGE_PM to the Storage.pm of pve-storage");
        return;
    };
    let mut runner = TestRunner::deterministic();
    let one = |runner: &mut TestRunner| any_case().new_tree(runner).unwrap().current();
    let cases: Vec<Case> = (0..20_000).map(|_| one(&mut runner)).collect();
    let marks = marks_of_perl(&storage_pm, &cases);
    assert_eq!(marks.lines().count(), cases.len());
    let (mut points, mut removed) = (0, 0);
    for (case, expected) in cases.iter().zip(marks.lines()) {
        let found = in_words(&ours(case.zone, &case.rules(), &case.points));
        assert_eq!(found, expected, "{case:?}");
        points += expected.len();
        removed += expected.matches('-').count();
    }
    println!("{} cases, {points} points, {removed} of them removed: all alike", cases.len());
}
