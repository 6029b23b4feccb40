//! Retention: examples, properties, and a year with summer time and a clock that jumps.

use super::*;
use proptest::prelude::*;

const DAY: i64 = 86_400;
const START: i64 = 1_767_225_600; // 2026-01-01T00:00:00Z

fn at(seconds: i64) -> Moment {
    Moment::from_unix(START + seconds)
}

fn item(seq: u64, seconds: i64) -> Item {
    let (protected, is_base, failed, incomplete, is_new) = (false, false, false, false, false);
    Item { seq, moment: at(seconds), protected, is_base, failed, incomplete, is_new, bytes: 10 }
}

/// A base and increments, a day apart.
fn days(count: u64) -> Vec<Item> {
    let one = |n: u64| Item { is_base: n == 0, ..item(n + 1, n as i64 * DAY) };
    (0..count).map(one).collect()
}

fn kept(items: &[Item], rules: &Rules, now: Moment) -> Vec<u64> {
    let verdicts = judge(items, rules, now).verdicts;
    items.iter().zip(verdicts).filter(|(_, v)| v.keeps()).map(|(i, _)| i.seq).collect()
}

fn rules(text: &str) -> Rules {
    let mut rules = Rules::default();
    for word in text.split_whitespace() {
        let (name, value) = word.split_once(':').unwrap();
        match name {
            "fold" => rules.fold = Some(value.parse().unwrap()),
            "keep" => rules.keep = Some(value.parse().unwrap()),
            "retain" => rules.retain = Some(value.parse().unwrap()),
            "within" => rules.within = Some(Span::age(value).unwrap()),
            _ => rules.add_prune_backups(value).unwrap(),
        }
    }
    rules
}

#[test]
fn words_are_read_whole_and_a_week_has_seven_days() {
    assert_eq!("7".parse(), Ok(Span::Points(7)));
    assert_eq!("36h".parse(), Ok(Span::Hours(36)));
    assert_eq!("14d".parse(), Ok(Span::Days(14)));
    assert_eq!("4w".parse(), Ok(Span::Days(28)));
    assert_eq!("6m".parse(), Ok(Span::Months(6)));
    for text in
        ["", "d", "x7d", "3,", "7dd", "-1", "+1", "7 d", "1y", "h", "99999999999", "4294967295w"]
    {
        assert!(text.parse::<Span>().is_err(), "{text}");
    }
    assert!(Span::age("7").is_err());
    for text in [
        "",
        "keep-last",
        "keep-last=x",
        "keep-last=1,keep-last=2",
        "last=1",
        "keep-last=-1",
        "keep-all=2",
    ] {
        assert!(Rules::default().add_prune_backups(text).is_err(), "{text}");
    }
}

#[test]
fn months_are_those_of_the_calendar() {
    let moment = |text: &str| text.parse::<Moment>().unwrap();
    let before = |m, text| Span::Months(m).before(moment(text));
    assert_eq!(before(1, "2026-03-31T10:00:00Z"), moment("2026-02-28T10:00:00Z"));
    assert_eq!(before(12, "2024-02-29T00:00:00Z"), moment("2023-02-28T00:00:00Z"));
    assert!(before(u32::MAX, "2026-01-01T00:00:00Z") < moment("0001-01-01T00:00:00Z"));
}

#[test]
fn without_a_rule_everything_stays() {
    assert_eq!(kept(&days(9), &Rules::default(), at(99 * DAY)).len(), 9);
}

#[test]
fn keep_is_one_base_and_n_increments() {
    assert_eq!(kept(&days(10), &rules("keep:3"), at(10 * DAY)), [1, 8, 9, 10]);
    assert_eq!(kept(&days(3), &rules("keep:3"), at(10 * DAY)), [1, 2, 3]);
    let mut renewed = days(10);
    renewed[6].is_base = true;
    assert_eq!(kept(&renewed, &rules("keep:3"), at(10 * DAY)), [7, 8, 9, 10]);
    assert_eq!(kept(&renewed, &rules("keep:4"), at(10 * DAY)), [1, 7, 8, 9, 10]);
}

#[test]
fn retain_counts_points_or_days() {
    assert_eq!(kept(&days(10), &rules("retain:2"), at(10 * DAY)), [9, 10]);
    assert_eq!(kept(&days(10), &rules("retain:2d"), at(9 * DAY)), [8, 9, 10]);
    assert_eq!(kept(&days(30), &rules("retain:1w"), at(29 * DAY)).len(), 8);
    assert_eq!(kept(&days(9), &rules("retain:36h"), at(9 * DAY)), [8, 9]);
    assert_eq!(kept(&days(9), &rules("within:48h"), at(9 * DAY)), [7, 8, 9]);
}

#[test]
fn rules_combine_and_say_which_one_decided() {
    let verdicts = judge(&days(5), &rules("retain:2 prune:keep-weekly=2"), at(5 * DAY)).verdicts;
    let keep = |why: &str| Verdict::Keep(why.to_owned());
    // The 1st of January 2026 is a Thursday: the week changes before the fifth point.
    assert_eq!(verdicts[4], keep("the newest whole point"));
    assert_eq!(verdicts[3], keep("retain 2"));
    assert_eq!(verdicts[..3], [Verdict::Remove, Verdict::Remove, Verdict::Remove]);
    let verdicts = judge(&days(5), &rules("prune:keep-weekly=2"), at(5 * DAY)).verdicts;
    assert_eq!(verdicts[3], keep("keep-weekly 2 (2026-W01)"));
}

#[test]
fn generations_are_kept_as_pve_keeps_them() {
    let rules = rules("prune:keep-monthly=2,keep-last=1,keep-daily=3");
    let kept = kept(&days(70), &rules, at(69 * DAY));
    // 11 March last; 10, 9, 8 March daily; then the ends of February and January.
    assert_eq!(kept, [31, 59, 67, 68, 69, 70]);
}

/// PVE counts the newest backup among those of `keep-daily`, as nothing but a rule keeps it there.
#[test]
fn one_rule_alone_keeps_as_many_as_it_says() {
    let kept_by = |rule: &str| kept(&days(70), &rules(rule), at(69 * DAY));
    assert_eq!(kept_by("prune:keep-daily=3"), [68, 69, 70]);
    assert_eq!(kept_by("prune:keep-monthly=2"), [59, 70]);
    assert_eq!(kept_by("prune:keep-last=1,keep-daily=2"), [68, 69, 70]);
}

/// As PVE does it: what a person protects stays beside what the rules keep.
#[test]
fn protected_points_are_not_counted_by_any_rule() {
    let mut items = days(8);
    for protected in [4, 6, 7] {
        items[protected].protected = true;
    }
    let now = at(10 * DAY);
    assert_eq!(kept(&items, &rules("retain:2"), now), [4, 5, 6, 7, 8]);
    assert_eq!(kept(&items, &rules("prune:keep-last=2"), now), [4, 5, 6, 7, 8]);
    assert_eq!(kept(&items, &rules("prune:keep-daily=2"), now), [4, 5, 6, 7, 8]);
}

#[test]
fn protected_future_and_damaged_points_take_nobodys_place() {
    let mut items = days(6);
    items[0].protected = true;
    items[4].failed = true;
    items[5].moment = at(1000 * DAY);
    let verdicts = judge(&items, &rules("retain:2"), at(10 * DAY)).verdicts;
    let expected = [
        Some("protected"),
        None,
        Some("retain 2"),
        Some("the newest whole point"),
        Some("retain 2, damaged: it does not count"),
        Some("dated in the future"),
    ];
    for (verdict, expected) in verdicts.iter().zip(expected) {
        let found = match verdict {
            Verdict::Keep(why) | Verdict::Fold(why) => Some(why.as_str()),
            Verdict::Remove => None,
        };
        assert_eq!(found, expected);
    }
}

#[test]
fn points_that_lack_a_disk_take_nobodys_place() {
    let mut items = days(9);
    items[3..].iter_mut().for_each(|item| item.incomplete = true);
    // However many nights it lasts, the last that holds all disks stays, and the newest of all.
    assert_eq!(kept(&items, &rules("retain:1"), at(9 * DAY)), [3, 4, 5, 6, 7, 8, 9]);
    assert_eq!(kept(&items, &rules("retain:1d"), at(99 * DAY)), [2, 3, 4, 5, 6, 7, 8, 9]);
    assert_eq!(kept(&items, &rules("prune:keep-daily=2"), at(9 * DAY)), [2, 3, 9]);
    let verdicts = judge(&items, &rules("retain:1"), at(9 * DAY)).verdicts;
    let keep = |why: &str| Verdict::Keep(why.to_owned());
    assert_eq!(verdicts[2], keep("the newest whole point"));
    assert_eq!(verdicts[7], keep("retain 1, incomplete: it does not count"));
    assert_eq!(verdicts[8], keep("the newest point"));
    // A base that lacks a disk is not the base that `keep` means, and nothing is folded across it.
    let mut items = days(6);
    items[3] = Item { is_base: true, incomplete: true, ..items[3].clone() };
    assert_eq!(kept(&items, &rules("keep:1"), at(6 * DAY)), [1, 6]);
    let mut items = days(6);
    items[3].incomplete = true;
    items[0].bytes = 1;
    assert_eq!(kept(&items, &rules("keep:1 fold:0"), at(6 * DAY)), [1, 6]);
}

#[test]
fn a_base_is_renewed_after_increments_or_age() {
    let due = |renew: &str, n, now| renewal(renew.parse().unwrap(), n, at(0), at(now));
    assert_eq!(due("7", 6, 99 * DAY), None);
    assert_eq!(due("7", 7, 0).as_deref(), Some("7 increments since the last base (renew 7)"));
    assert_eq!(due("1", 1, 0).as_deref(), Some("1 increment since the last base (renew 1)"));
    assert!(due("0", 0, 0).is_some());
    assert_eq!(due("4w", 99, 28 * DAY - 1), None, "four weeks are 28 days and not four");
    assert!(due("4w", 1, 28 * DAY).is_some());
    assert_eq!(due("1d", 1, -5 * DAY), None, "a base of the future is not old");
}

fn berlin() -> jiff::tz::TimeZone {
    jiff::tz::TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap()
}

/// Hourly runs for a year at the wall clock of Berlin, which skips an hour in March and has one
/// twice in October; on day 100 the clock jumps back by a week, on day 200 it is a year ahead for
/// a day.
#[test]
fn a_year_with_summer_time_and_jumps_never_loses_the_newest_nor_a_day() {
    let mut rules = rules("prune:keep-hourly=24,keep-daily=7,keep-weekly=4,keep-monthly=12");
    rules.calendar = Calendar::of(berlin());
    let calendar = Calendar::of(berlin());
    let mut items: Vec<Item> = Vec::new();
    for hour in 0..(365 * 24_i64) {
        let (day, seq) = (hour / 24, hour as u64 + 1);
        let jump = match day {
            100 => -7 * DAY,
            200 => 365 * DAY,
            _ => 0,
        };
        let now = hour * 3600 + jump;
        items.push(item(seq, now));
        let kept = kept(&items, &rules, at(now));
        assert!(kept.contains(&seq), "hour {hour}: the newest point went");
        items.retain(|item| kept.contains(&item.seq));
    }
    let now = at(365 * DAY);
    let past: Vec<&Item> = items.iter().filter(|item| item.moment <= now).collect();
    let months: BTreeSet<String> =
        past.iter().map(|i| calendar.name_of(Period::Month, i.moment)).collect();
    for month in 1..=12 {
        let name = format!("2026-{month:02}");
        assert!(months.contains(&name), "{name} has no point: {months:?}");
    }
    let days: BTreeSet<String> =
        past.iter().map(|i| calendar.name_of(Period::Day, i.moment)).collect();
    for day in 358..365 {
        assert!(days.contains(&calendar.name_of(Period::Day, at(day * DAY))), "day {day} has none");
    }
    assert!(past.len() < 60, "{} points stay", past.len());
}

fn any_items() -> impl Strategy<Value = Vec<Item>> {
    let one = (-40_i64 * 24..40 * 24, 0_u8..8, 0_u8..4, (0_u8..6, 0_u8..3));
    prop::collection::vec(one, 1..60).prop_map(|list| {
        let make = |(n, (hour, protected, base, flaws)): (usize, (i64, u8, u8, (u8, u8)))| Item {
            seq: n as u64 * 3,
            moment: at(hour * 3600),
            protected: protected == 0,
            is_base: base == 0,
            failed: flaws.0 == 0,
            incomplete: flaws.1 == 0,
            is_new: false,
            bytes: n as u64,
        };
        list.into_iter().enumerate().map(make).collect()
    })
}

fn any_rule() -> impl Strategy<Value = (u8, u32)> {
    (0_u8..9, 0_u32..20)
}

fn one_rule(which: u8, n: u32) -> Rules {
    let period = |period| Rules { periods: vec![(period, n)], ..Rules::default() };
    match which {
        0 => Rules { keep: Some(n), ..Rules::default() },
        1 => Rules { retain: Some(Span::Points(n)), ..Rules::default() },
        2 => Rules { retain: Some(Span::Days(n)), ..Rules::default() },
        3 => Rules { within: Some(Span::Months(n)), ..Rules::default() },
        4 => Rules { last: Some(n), ..Rules::default() },
        5 => period(Period::Hour),
        6 => period(Period::Day),
        7 => period(Period::Week),
        _ => period(Period::Month),
    }
}

proptest! {
    #[test]
    fn retention_never_empties_nor_touches_the_protected(items in any_items(), rule in any_rule()) {
        let fold = "10%".parse().ok();
        let verdicts = judge(&items, &Rules { fold, ..one_rule(rule.0, rule.1) }, at(0)).verdicts;
        prop_assert!(verdicts.iter().any(Verdict::keeps));
        for (item, verdict) in items.iter().zip(&verdicts) {
            prop_assert!(verdict.keeps() || !item.protected && !item.moment.is_in_the_future(at(0)));
        }
        let present = || items.iter().zip(&verdicts).filter(|(i, _)| !i.moment.is_in_the_future(at(0)));
        if let Some((_, verdict)) = present().rfind(|(i, _)| !i.failed && !i.incomplete) {
            prop_assert!(verdict.keeps(), "the newest whole point went");
        }
        if let Some((_, verdict)) = present().rfind(|(i, _)| !i.failed) {
            prop_assert!(verdict.keeps(), "the newest point that is not damaged went");
        }
    }

    #[test]
    fn others_stay_or_go_as_if_the_protected_ones_were_not_there(
        mut items in any_items(),
        rule in (1_u8..9, 0_u32..20),
    ) {
        items.push(item(1000, 0));
        let rules = one_rule(rule.0, rule.1);
        let others: Vec<Item> = items.iter().filter(|i| !i.protected).cloned().collect();
        let mut beside = kept(&items, &rules, at(0));
        beside.retain(|seq| others.iter().any(|other| other.seq == *seq));
        prop_assert_eq!(beside, kept(&others, &rules, at(0)));
    }

    #[test]
    fn to_protect_a_point_costs_no_other_under_keep(
        mut items in any_items(),
        n in 0_u32..20,
        which in 0_usize..60,
    ) {
        let which = which % items.len();
        let before = kept(&items, &one_rule(0, n), at(0));
        items[which].protected = true;
        let after = kept(&items, &one_rule(0, n), at(0));
        prop_assert!(before.iter().all(|seq| after.contains(seq)), "{:?} and {:?}", before, after);
    }

    #[test]
    fn what_stays_once_stays_when_it_is_judged_again(items in any_items(), rule in any_rule()) {
        let rules = one_rule(rule.0, rule.1);
        let first = kept(&items, &rules, at(0));
        let rest: Vec<Item> = items.into_iter().filter(|i| first.contains(&i.seq)).collect();
        prop_assert_eq!(kept(&rest, &rules, at(0)), first);
    }

    #[test]
    fn a_larger_number_keeps_no_less(items in any_items(), rule in any_rule(), more in 0_u32..9) {
        let few = judge(&items, &one_rule(rule.0, rule.1), at(0));
        // A rule that a gap stopped removes nothing; one by a longer age may bridge that gap.
        prop_assume!(few.stopped.is_none());
        let few = kept(&items, &one_rule(rule.0, rule.1), at(0));
        let many = kept(&items, &one_rule(rule.0, rule.1 + more), at(0));
        prop_assert!(few.iter().all(|seq| many.contains(seq)), "{:?} and {:?}", few, many);
    }
}

#[test]
fn fold_moves_the_base_up_once_older_increments_exceed_their_share_of_it() {
    let mut items = days(6);
    items[0].bytes = 100;
    let now = at(6 * DAY);
    // Two increments of 10 are older than the newest three.
    assert_eq!(kept(&items, &rules("keep:3 fold:20%"), now), [1, 4, 5, 6]);
    assert_eq!(kept(&items, &rules("keep:3 fold:19%"), now), [3, 4, 5, 6]);
    let verdicts = judge(&items, &rules("keep:3 fold:19%"), now).verdicts;
    assert_eq!(verdicts[2], Verdict::Fold("keep 3: the base (fold 19%)".to_owned()));
    assert_eq!(kept(&items[..4], &rules("keep:3 fold:0"), now), [1, 2, 3, 4], "nothing is older");
    // Whatever keeps the base, or is damaged, stops the fold.
    items[0].protected = true;
    assert_eq!(kept(&items, &rules("keep:3 fold:0"), now), [1, 4, 5, 6]);
    items[0].protected = false;
    items[1].failed = true;
    assert_eq!(kept(&items, &rules("keep:3 fold:0"), now), [1, 4, 5, 6]);
    items[1].failed = false;
    assert_eq!(kept(&items, &rules("keep:3 fold:0 within:6d"), now), [1, 2, 3, 4, 5, 6]);
    assert!(rules("fold:0").is_empty());
}

#[test]
fn rules_that_are_all_zero_keep_everything_as_in_pve() {
    let all = |text: &str| kept(&days(9), &rules(text), at(9 * DAY)).len();
    for text in ["prune:keep-last=0", "prune:keep-last=0,keep-monthly=0", "prune:keep-all=0"] {
        assert_eq!(all(text), 9, "{text}");
        assert!(!rules(text).is_empty(), "{text}: it is a rule, and prune goes on with it");
    }
    assert_eq!(all("prune:keep-daily=0,keep-last=2"), 2, "a zero beside a number is no rule");
    let verdicts = judge(&days(1), &rules("prune:keep-daily=0"), at(9 * DAY)).verdicts;
    let why = "keep-all, as all numbers of --prune-backups are 0";
    assert_eq!(verdicts, [Verdict::Keep(why.to_owned())]);
}

#[test]
fn keep_all_stands_alone_and_is_called_by_its_name() {
    for word in ["1", "yes", "on", "True"] {
        let rules = rules(&format!("prune:keep-all={word},keep-last=0"));
        let verdicts = judge(&days(2), &rules, at(9 * DAY)).verdicts;
        assert_eq!(verdicts, vec![Verdict::Keep("keep-all".to_owned()); 2]);
    }
    let refused = Rules::default().add_prune_backups("keep-all=1,keep-last=2").unwrap_err();
    assert!(refused.to_string().contains("keep-all cannot be set together"), "{refused}");
    assert_eq!(kept(&days(9), &rules("prune:keep-all=0,keep-last=2"), at(9 * DAY)), [8, 9]);
}

/// A backup of which the date is not confirmed by anything, behind these points.
fn and_new(mut items: Vec<Item>, seconds: i64) -> Vec<Item> {
    let seq = items.last().map_or(0, |newest| newest.seq) + 1;
    items.iter_mut().for_each(|item| item.is_new = false);
    items.push(Item { is_new: true, ..item(seq, seconds) });
    items
}

#[test]
fn a_clock_that_is_ten_years_ahead_removes_nothing_however_long_it_is_wrong() {
    let ahead = 3650 * DAY;
    let mut items = days(5);
    for run in 0..9 {
        let now = ahead + run * 3600;
        items = and_new(items, now);
        let judgement = judge(&items, &rules("retain:14d"), at(now));
        assert_eq!(judgement.stopped.is_some(), run > 0, "run {run}");
        assert!(judgement.verdicts.iter().all(Verdict::keeps), "run {run}: {judgement:?}");
    }
    let told = judge(&items, &rules("retain:14d"), at(ahead + DAY)).stopped.unwrap();
    assert!(told.contains("retain 14d would remove 5 points up to 2026-01-05T00:00:00Z"), "{told}");
    // The clock is right again: what it dated is of the future, and takes nobody's place.
    let items = and_new(items, 5 * DAY);
    let judgement = judge(&items, &rules("retain:2d"), at(5 * DAY));
    assert_eq!(judgement.stopped, None);
    let kept: Vec<bool> = judgement.verdicts.iter().map(Verdict::keeps).collect();
    assert_eq!(kept[..5], [false, false, true, true, true]);
    assert!(kept[5..].iter().all(|keeps| *keeps));
}

#[test]
fn prune_goes_on_for_weeks_without_a_backup_and_removes_nothing_more() {
    for now in [5, 20, 400] {
        assert_eq!(kept(&days(5), &rules("retain:2d"), at(now * DAY)), [3, 4, 5]);
    }
}

#[test]
fn after_a_pause_the_points_before_it_go_once_those_after_it_cover_the_age() {
    let mut items = days(5);
    items.extend((0..=14).map(|day| item(6 + day, (60 + day as i64) * DAY)));
    let after = |count: usize| judge(&items[..5 + count], &rules("within:14d"), at(99 * DAY));
    for count in 1..15 {
        let judgement = after(count);
        assert!(judgement.stopped.is_some(), "{count} points");
        assert!(judgement.verdicts.iter().all(Verdict::keeps), "{count} points");
    }
    let judgement = after(15);
    assert_eq!(judgement.stopped, None);
    let gone = judgement.verdicts.iter().filter(|v| !v.keeps()).count();
    assert_eq!(gone, 5);
}

#[test]
fn a_gap_stops_no_age_where_another_rule_goes_on_over_it_nor_where_runs_are_a_little_late() {
    let mut items = days(5);
    items.push(item(6, 60 * DAY));
    let judged = |items: &[Item], text| judge(items, &rules(text), at(99 * DAY));
    assert!(judged(&items, "retain:14d").stopped.is_some());
    let with_others = judged(&items, "retain:14d prune:keep-last=2");
    assert_eq!(with_others.stopped, None);
    assert_eq!(with_others.verdicts.iter().filter(|v| v.keeps()).count(), 2);
    assert_eq!(judged(&items, "prune:keep-last=1").stopped, None, "a number is no age");
    let late: Vec<Item> = (0..9).map(|n| item(n + 1, n as i64 * (DAY + 90))).collect();
    let judgement = judged(&late, "within:1d");
    assert_eq!(judgement.stopped, None);
    assert_eq!(judgement.verdicts.iter().filter(|v| v.keeps()).count(), 1);
}

#[test]
fn an_age_finds_no_complete_point_to_count_from_and_keeps_all() {
    let mut items = days(4);
    items.iter_mut().for_each(|item| item.incomplete = true);
    let items = and_new(items, 99 * DAY);
    assert_eq!(kept(&items, &rules("retain:1d"), at(99 * DAY)), [1, 2, 3, 4, 5]);
}

#[test]
fn a_damaged_point_that_is_kept_serves_no_period() {
    let mut items = days(2);
    items.push(Item { failed: true, ..item(3, DAY + 3600) });
    items.push(item(4, 2 * DAY));
    // The damaged one stays beside the newest, and its day still has a point that is whole.
    let rules = rules("retain:1 prune:keep-daily=2");
    assert_eq!(kept(&items, &rules, at(9 * DAY)), [1, 2, 3, 4]);
}
