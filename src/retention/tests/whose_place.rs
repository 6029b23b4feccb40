//! Points that no rule counts: protected ones, those of the future, damaged and incomplete ones.

use super::*;

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
