//! What holds whatever the points and the rules are.

use super::*;
use proptest::prelude::*;

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
