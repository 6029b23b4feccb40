//! Ages: from where they count, and the gaps that stop them.

use super::*;

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
