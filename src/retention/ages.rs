//! Rules that go by age, `--retain 14d` and `--keep-within 36h`, and what stops them.
//!
//! Ages count from the newest whole point that was there before the run: a machine whose clock is
//! years ahead at boot would find everything too old otherwise, and backups that fail for two weeks
//! would cost what they should have followed. The point that such a run makes is there in the next one,
//! though, and everything before it is behind a gap that no point bridges. While the points after
//! such a gap do not cover the age that the rule asks for, those before it stay, unless another rule
//! goes on over the gap; the user is told, as neither the clock nor the pause can be judged here.

use super::{Item, Judged, Span};
use crate::model::{Moment, counted};

/// A pause between two points that the schedule does not explain: longer than the age by a tenth, as
/// a daily run is not one day after the last to the second.
fn is_gap(older: Moment, newer: Moment, age: i64) -> bool {
    newer.unix().saturating_sub(older.unix()) > age.saturating_add(age / 10)
}

impl Judged<'_> {
    /// The newest whole point that was there before this run.
    fn reference(&self) -> Option<usize> {
        let fits = |i: &&usize| self.items[**i].is_whole() && !self.items[**i].is_new;
        self.order.iter().find(fits).copied()
    }

    /// Keeps what is not older than `span`, counted back from the newest whole point that was there
    /// before; everything, when there is none.
    pub(super) fn since(&mut self, span: Span, why: &str) {
        let Some(reference) = self.reference() else {
            let why =
                format!("{why}: no complete point was there before from which it could count");
            self.order.clone().into_iter().for_each(|i| self.keep(i, &why));
            return;
        };
        let first = span.before(self.items[reference].moment);
        for i in self.order.clone() {
            if self.items[i].moment >= first {
                self.keep(i, why);
            }
        }
    }

    /// Keeps what is before a gap that the points after it do not make up for yet, and says so; `None`
    /// when there is no such gap, or another rule keeps something before it.
    pub(super) fn hold(&mut self, span: Span, why: &str) -> Option<String> {
        let newest = self.reference()?;
        let moment = |i: usize| self.items[i].moment;
        let age = moment(newest).unix().saturating_sub(span.before(moment(newest)).unix());
        let counts = |i: &usize| *i == newest || self.items[*i].counts() && !self.items[*i].is_new;
        let line: Vec<usize> = self.order.iter().copied().filter(counts).collect();
        let gap = line.windows(2).find(|two| is_gap(moment(two[1]), moment(two[0]), age))?;
        let (first, last) = (gap[0], gap[1]);
        if moment(newest).unix().saturating_sub(moment(first).unix()) >= age {
            return None;
        }
        let begin = self.order.iter().position(|i| *i == last)?;
        let before = self.order[begin..].to_vec();
        let goes_on = |i: &usize| self.ruled.contains(i) && self.items[*i].counts();
        if before.iter().any(goes_on) {
            return None;
        }
        let going: Vec<usize> = before.into_iter().filter(|i| !self.verdicts[*i].keeps()).collect();
        if going.is_empty() {
            return None;
        }
        let told = told(&going, (self.items, first), why);
        going.into_iter().for_each(|i| self.stay(i, &format!("{why}: stopped at a gap")));
        Some(told)
    }
}

fn told(going: &[usize], (items, first): (&[Item], usize), why: &str) -> String {
    let all = counted(going.len(), "point");
    let newest = going.iter().map(|i| items[*i].moment).max().unwrap_or(items[first].moment);
    format!(
        "{why} would remove {all} up to {newest} and leave nothing of the time before {}, and what was made since \
         does not cover that age: a clock that was wrong looks like this, and so does a pause, or a schedule \
         with longer intervals. It removed nothing. Points that a wrong clock dated go with `pve-ferry delete`; \
         older ones that are not needed go with `pve-ferry prune --prune-backups keep-last=N`",
        items[first].moment
    )
}
