//! Bases: how many increments `keep` leaves on one, when it is folded, when a new one is due.

use super::*;

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
