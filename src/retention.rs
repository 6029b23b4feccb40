//! Retention: which restore points stay, which go, and the rule that decided; and when a new base
//! is due. Not for removing anything, and it knows no clock: the present is an argument.
//!
//! Order is `seq`. A point stays when any rule keeps it. Points that are protected or dated in the
//! future stay and take nobody's place, as in PVE: to protect one costs no other; damaged ones and
//! those that lack a disk take nobody's place either; the newest whole point always stays, and so does the newest that is not damaged. The rules of
//! `--prune-backups` are those of PVE (pve-storage, `PVE::Storage::prune_mark_backup_group`): their
//! hours to years are those of a calendar in one time zone ([`Calendar`]), and a point that a rule for
//! shorter periods passed over is not offered to one for longer periods. Ages count from the newest
//! whole point that was there before, never from a wall clock, which may be wrong (see `ages`).

mod ages;
mod calendar;
mod grammar;
mod share;
#[cfg(test)]
mod tests;

pub use calendar::Calendar;
pub use share::Share;

use crate::model::{Moment, counted};
use std::collections::BTreeSet;

/// How many points, or how far back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Span {
    /// So many points (or, for a renewal, increments).
    Points(u32),
    /// So many hours.
    Hours(u32),
    /// So many days.
    Days(u32),
    /// So many calendar months.
    Months(u32),
}

/// A period of which the newest point stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Period {
    /// `keep-hourly`.
    Hour,
    /// `keep-daily`.
    Day,
    /// `keep-weekly`: ISO weeks, which begin on Monday.
    Week,
    /// `keep-monthly`.
    Month,
    /// `keep-yearly`.
    Year,
}

/// The rules that a user gave. Without any, everything stays.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rules {
    /// `--keep N`: a base's point and the newest N points.
    pub keep: Option<u32>,
    /// `--retain`.
    pub retain: Option<Span>,
    /// `keep-last=N` of `--prune-backups`.
    pub last: Option<u32>,
    /// `keep-hourly=N` to `keep-yearly=N`, from the shortest period to the longest.
    pub periods: Vec<(Period, u32)>,
    /// `--keep-within`.
    pub within: Option<Span>,
    /// `--fold`: the share of a base from which on older increments are folded into it. No rule by
    /// itself: it keeps nothing.
    pub fold: Option<Share>,
    /// Why everything stays: `keep-all=1`, or a list of `--prune-backups` without a number above 0,
    /// which PVE takes for the same.
    pub all: Option<&'static str>,
    /// Where hours, days, weeks, months and years begin.
    pub calendar: Calendar,
}

/// A restore point as retention sees it: one of a guest and label.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// Its place in the order of points.
    pub seq: u64,
    /// Its date.
    pub moment: Moment,
    /// Whether a person protected it.
    pub protected: bool,
    /// Whether all its images are bases.
    pub is_base: bool,
    /// Whether it was found damaged.
    pub failed: bool,
    /// Whether it lacks a disk that could not be saved.
    pub incomplete: bool,
    /// Whether the run that asks is about to make it: ages do not count from it, as its date is that of a
    /// wall clock that nothing has confirmed yet.
    pub is_new: bool,
    /// Bytes of its images in the repository.
    pub bytes: u64,
}

impl Item {
    /// Whether it can stand for its guest: all of it is there, and nothing of it was found damaged.
    fn is_whole(&self) -> bool {
        !self.failed && !self.incomplete
    }

    /// Whether it takes a place among the points that a rule counts.
    fn counts(&self) -> bool {
        self.is_whole() && !self.protected
    }
}

/// What becomes of a point.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It stays, by this rule.
    Keep(String),
    /// It stays, by this rule, and the base below it goes into it.
    Fold(String),
    /// It goes: no rule keeps it.
    Remove,
}

impl Verdict {
    /// Whether the point stays.
    pub fn keeps(&self) -> bool {
        !matches!(self, Self::Remove)
    }
}

impl Rules {
    /// Whether there is no rule, so that nothing is ever removed.
    pub fn is_empty(&self) -> bool {
        let Self { keep, retain, last, periods, within, all, fold: _, calendar: _ } = self;
        let ages = retain.or(*within).is_some();
        keep.or(*last).is_none() && !ages && periods.is_empty() && all.is_none()
    }

    /// The rules that go by age, each with its name.
    fn ages(&self) -> impl Iterator<Item = (Span, String)> {
        let retain = self.retain.filter(|span| !matches!(span, Span::Points(_)));
        let named = |name: &'static str| move |span: Span| (span, format!("{name} {span}"));
        retain.map(named("retain")).into_iter().chain(self.within.map(named("keep-within")))
    }
}

/// What retention comes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judgement {
    /// The verdicts, in the order of the items.
    pub verdicts: Vec<Verdict>,
    /// Why an age removes nothing although it could, in words; `None` when all rules did what they say.
    pub stopped: Option<String>,
}

/// Judges points of one guest and label. `now` is the wall clock's: what is dated after it stays.
pub fn judge(items: &[Item], rules: &Rules, now: Moment) -> Judgement {
    let mut judged = Judged::new(items, now);
    if let Some(why) = rules.all.or(rules.is_empty().then_some("no retention rule is given")) {
        return judged.all(why);
    }
    judged.unconditional();
    if let Some(n) = rules.keep {
        judged.newest(n, &format!("keep {n}"));
        if rules.fold.is_none() {
            judged.base_before(n, &format!("keep {n}: the base"));
        }
    }
    if let Some(Span::Points(n)) = rules.retain {
        judged.newest(n, &format!("retain {n}"));
    }
    for (span, why) in rules.ages() {
        judged.since(span, &why);
    }
    if let Some(n) = rules.last {
        judged.newest(n, &format!("keep-last {n}"));
    }
    for (period, n) in &rules.periods {
        judged.per_period(*period, *n, &rules.calendar);
    }
    let stopped = rules.ages().max_by_key(|(span, _)| span.longest_seconds());
    let stopped = stopped.and_then(|(span, why)| judged.hold(span, &why));
    // Another rule may need the base as a point, so this one comes last.
    if let (Some(n), Some(share)) = (rules.keep, rules.fold) {
        judged.fold_or_base(n, share);
    }
    Judgement { verdicts: judged.verdicts, stopped }
}

/// Why a base is due although an increment would be possible; `None` when none is. `increments`
/// follow the last base, which was made at `base`.
pub fn renewal(renew: Span, increments: u32, base: Moment, now: Moment) -> Option<String> {
    if renew == Span::Points(0) {
        return Some("every image is a base (renew 0)".to_owned());
    }
    let due = match renew {
        Span::Points(n) => increments >= n,
        age => base <= age.before(now),
    };
    due.then(|| match renew {
        Span::Points(_) => {
            format!("{} since the last base (renew {renew})", counted(increments, "increment"))
        }
        _ => format!("the last base is of {base} (renew {renew})"),
    })
}

/// Verdicts while they are made. A point that is kept once keeps its first reason.
struct Judged<'a> {
    items: &'a [Item],
    /// Indexes of the points that count, the newest first: not those of the future.
    order: Vec<usize>,
    verdicts: Vec<Verdict>,
    /// The points that a rule of the user keeps.
    ruled: BTreeSet<usize>,
    /// The points that a rule for periods passed over: they are not offered to any other.
    passed: BTreeSet<usize>,
    now: Moment,
}

impl<'a> Judged<'a> {
    fn new(items: &'a [Item], now: Moment) -> Self {
        let is_past = |i: &usize| !items[*i].moment.is_in_the_future(now);
        let mut order: Vec<usize> = (0..items.len()).filter(is_past).collect();
        order.sort_by_key(|i| std::cmp::Reverse(items[*i].seq));
        let verdicts = vec![Verdict::Remove; items.len()];
        let (ruled, passed) = (BTreeSet::new(), BTreeSet::new());
        Self { items, order, verdicts, ruled, passed, now }
    }

    fn all(mut self, why: &str) -> Judgement {
        (0..self.items.len()).for_each(|i| self.stay(i, why));
        Judgement { verdicts: self.verdicts, stopped: None }
    }

    fn keep(&mut self, index: usize, why: &str) {
        self.ruled.insert(index);
        self.stay(index, why);
    }

    /// Keeps a point that stays whatever the rules say.
    fn stay(&mut self, index: usize, why: &str) {
        if !self.verdicts[index].keeps() {
            self.verdicts[index] = Verdict::Keep(why.to_owned());
        }
    }

    fn unconditional(&mut self) {
        for (i, item) in self.items.iter().enumerate() {
            if item.protected {
                self.stay(i, "protected");
            }
            if item.moment.is_in_the_future(self.now) {
                self.stay(i, "dated in the future");
            }
        }
        let newest =
            |is_it: fn(&Item) -> bool| self.order.iter().find(|i| is_it(&self.items[**i])).copied();
        let (whole, undamaged) = (newest(Item::is_whole), newest(|item| !item.failed));
        if let Some(whole) = whole {
            self.stay(whole, "the newest whole point");
        }
        // Of the disks that it does hold, it may be the only one that is recent. When every point is
        // damaged, the newest of them is still the best that there is.
        if let Some(newest) = undamaged.or(self.order.first().copied()) {
            self.stay(newest, "the newest point");
        }
    }

    /// Points, newest first, until `n` that count have been seen.
    fn until(&self, n: u32) -> Vec<usize> {
        let mut seen = 0;
        let counts = |i: &&usize| {
            seen += u32::from(self.items[**i].counts());
            seen <= n
        };
        self.order.iter().take_while(counts).copied().collect()
    }

    /// The points behind the newest `n` that count, from a whole one on. That one may be protected:
    /// such a base serves those before it as well as any other.
    fn behind(&self, n: u32) -> &[usize] {
        let mut seen = 0;
        let is_behind = |i: &usize| {
            let item = &self.items[*i];
            let is_behind = seen == n && item.is_whole();
            seen += u32::from(item.counts());
            is_behind
        };
        let first = self.order.iter().position(is_behind);
        first.map_or(&[], |first| &self.order[first..])
    }

    fn newest(&mut self, n: u32, why: &str) {
        for i in self.until(n) {
            let flaw = match self.items[i] {
                Item { failed: true, .. } => ", damaged: it does not count",
                Item { incomplete: true, .. } => ", incomplete: it does not count",
                _ => "",
            };
            self.keep(i, &format!("{why}{flaw}"));
        }
    }

    /// The newest base's point that is not among the newest `n`.
    fn base_before(&mut self, n: u32, why: &str) {
        let is_base = |i: &&usize| self.items[**i].is_base && self.items[**i].is_whole();
        if let Some(base) = self.behind(n).iter().find(is_base).copied() {
            self.keep(base, why);
        }
    }

    /// As [`Self::base_before`], or the newest of the older increments in its place, when together
    /// they exceed their share of it and no rule keeps one of these points.
    fn fold_or_base(&mut self, n: u32, share: Share) {
        let older = self.behind(n);
        let is_base = |i: &usize| self.items[*i].is_base && self.items[*i].is_whole();
        let Some(place) = older.iter().position(is_base) else { return };
        let goes = |i: &usize| !self.verdicts[*i].keeps() && self.items[*i].is_whole();
        let bytes = older[..place].iter().map(|i| self.items[*i].bytes).sum();
        let due = share.is_exceeded(bytes, self.items[older[place]].bytes);
        let newest = older[0];
        if place > 0 && due && older[..=place].iter().all(goes) {
            self.verdicts[newest] = Verdict::Fold(format!("keep {n}: the base (fold {share})"));
        } else {
            self.base_before(n, &format!("keep {n}: the base"));
        }
    }

    /// The newest point of each of the newest `n` periods that hold a point that counts, periods that
    /// an earlier rule has served left out; the others of such a period are passed over for good. All as
    /// in PVE; as there, protected points serve no period, nor does the newest one by being the
    /// newest: `keep-daily=7` alone keeps seven days.
    fn per_period(&mut self, period: Period, n: u32, calendar: &Calendar) {
        let name = |i: &usize| calendar.name_of(period, self.items[*i].moment);
        let serves = |i: &&usize| self.ruled.contains(i) && self.items[**i].counts();
        let served: BTreeSet<String> = self.order.iter().filter(serves).map(name).collect();
        let is_open = |i: &usize| {
            self.items[*i].counts() && !self.passed.contains(i) && !self.ruled.contains(i)
        };
        let open = self.order.iter().copied().filter(is_open).map(|i| (i, name(&i)));
        let open: Vec<_> = open.filter(|(_, name)| !served.contains(name)).collect();
        let mut taken = BTreeSet::new();
        for (i, name) in open {
            if taken.contains(&name) {
                self.passed.insert(i);
                continue;
            }
            if taken.len() >= n as usize {
                break;
            }
            self.keep(i, &format!("{period} {n} ({name})"));
            taken.insert(name);
        }
    }
}
