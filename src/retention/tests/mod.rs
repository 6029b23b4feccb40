//! Retention: the words of the rules, and what they come to together. The files beside this one have a
//! kind of rule each.

mod ages;
mod bases;
mod periods;
mod properties;
mod whose_place;

use super::*;

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
fn without_a_rule_everything_stays() {
    assert_eq!(kept(&days(9), &Rules::default(), at(99 * DAY)).len(), 9);
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
