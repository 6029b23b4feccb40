//! Periods of a calendar: PVE's generations, and a year with summer time and a clock that jumps.

use super::*;

#[test]
fn months_are_those_of_the_calendar() {
    let moment = |text: &str| text.parse::<Moment>().unwrap();
    let before = |m, text| Span::Months(m).before(moment(text));
    assert_eq!(before(1, "2026-03-31T10:00:00Z"), moment("2026-02-28T10:00:00Z"));
    assert_eq!(before(12, "2024-02-29T00:00:00Z"), moment("2023-02-28T00:00:00Z"));
    assert!(before(u32::MAX, "2026-01-01T00:00:00Z") < moment("0001-01-01T00:00:00Z"));
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

#[test]
fn a_damaged_point_that_is_kept_serves_no_period() {
    let mut items = days(2);
    items.push(Item { failed: true, ..item(3, DAY + 3600) });
    items.push(item(4, 2 * DAY));
    // The damaged one stays beside the newest, and its day still has a point that is whole.
    let rules = rules("retain:1 prune:keep-daily=2");
    assert_eq!(kept(&items, &rules, at(9 * DAY)), [1, 2, 3, 4]);
}
