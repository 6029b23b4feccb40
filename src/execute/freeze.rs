//! The frozen scope: a guard and a freeze open it, a thaw closes it (`scope`). It contains nothing but
//! snapshot creation, and what a point is worth is decided by the thaw. Whether the guest was seen thawed
//! is for `thaw.rs`.

use super::guard::{Duty, Guard, Said};
use super::state::Frozen;
use super::thaw::ThawWatch;
use super::{Execution, Stopped};
use crate::clock::Stopwatch;
use std::time::Duration;

/// A guest that was asked to freeze, with the guard that will thaw it.
pub(super) struct FrozenGuest {
    guard: Guard,
    watch: ThawWatch,
    /// How many file systems are frozen; or why none, or why nobody knows.
    frozen: Result<u64, String>,
    seconds: u32,
    /// Since the agent's answer.
    begun: Stopwatch,
}

/// Which snapshots were made when the word to thaw was given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Snapshots {
    /// All of them.
    All,
    /// Some may be under way.
    TooLate,
}

impl Execution {
    /// Freezes the guest. None when it cannot be guarded: it is not left without a backup, its snapshots
    /// are made all the same, and the point says that it is worth less.
    pub(super) async fn freeze(
        &self,
        seconds: u32,
        answer: u32,
    ) -> Result<Option<FrozenGuest>, Stopped> {
        self.state().seen_running = true;
        self.state().frozen = Frozen::Broken;
        let mut guard = match self.guard(seconds).await? {
            Ok(guard) => guard,
            Err(why) => {
                self.warn(format!("not frozen, as nothing would thaw it for sure: {why}"));
                return Ok(None);
            }
        };
        let watch = self.thaw_to_be_seen(&guard, &self.held.token).await;
        let frozen = self.answered(&mut guard, answer).await;
        Ok(Some(FrozenGuest { guard, watch, frozen, seconds, begun: Stopwatch::start() }))
    }

    /// Returns when the guest may not stay frozen any longer for its snapshots: at the deadline, or when
    /// the user wishes to stop.
    pub(super) async fn may_not_stay_frozen(&self, frozen: &FrozenGuest) {
        let deadline = Duration::from_secs(frozen.seconds.into());
        tokio::select! {
            () = self.ctx.cancel.cancelled() => {}
            () = tokio::time::sleep(deadline.saturating_sub(frozen.begun.elapsed())) => {}
        }
    }

    /// Gives the word to thaw, and judges what the point is worth by the answer; without snapshots there
    /// is nothing to judge, and the answer is not waited for.
    pub(super) async fn thaw(&self, frozen: FrozenGuest, made: Option<Snapshots>) {
        let FrozenGuest { mut guard, watch, frozen, seconds, begun } = frozen;
        guard.thaw().await;
        let Some(made) = made else { return self.watch(watch, Some(guard)) };
        let verdict = match frozen {
            Ok(count) => {
                let thawed = thawed(&mut guard).await;
                self.state().outcome.frozen_seconds = Some(begun.elapsed().as_secs_f64());
                verdict(count, thawed, made, seconds)
            }
            Err(why) => Err(format!("the guest did not freeze ({why})")),
        };
        self.watch(watch, Some(guard));
        match verdict {
            Ok(()) => self.state().frozen = Frozen::Held,
            Err(why) => self.warn(format!("crash-consistent only: {why}")),
        }
    }

    /// The guard that will freeze; or why there is none, and the guest must not be frozen.
    async fn guard(&self, seconds: u32) -> Result<Result<Guard, String>, Stopped> {
        let (post, token) =
            (super::thaw::surveyed_post(&self.ctx, &self.plan.guest)?, self.held.token.clone());
        let guard = tokio::select! {
            guard = Guard::start(&post, Duty::Freeze { seconds }, &token) => guard,
            () = self.ctx.cancel.cancelled() => return Err(Stopped::Interrupted),
        };
        Ok(guard.map_err(|error| format!("{:#}", anyhow::Error::from(error))))
    }

    /// Freezes and says how many file systems; or why not, or why nobody knows.
    async fn answered(&self, guard: &mut Guard, answer: u32) -> Result<u64, String> {
        guard.freeze().await;
        let waits = async {
            tokio::time::sleep(UNUSUAL).await;
            self.note("the guest's agent takes long to answer the freeze");
            std::future::pending::<()>().await;
        };
        let limit = Duration::from_secs(answer.into());
        let said = tokio::select! {
            said = tokio::time::timeout(limit, guard.next()) => said,
            () = self.ctx.cancel.cancelled() => return Err("interrupted".to_owned()),
            () = waits => return Err("nobody waited".to_owned()),
        };
        match said {
            Ok(Some(Said::Frozen(count))) => Ok(count),
            Ok(Some(Said::NotFrozen(why))) => Err(why),
            Ok(Some(other)) => Err(format!("the guard said {other:?}")),
            Ok(None) => Err(UNHEARD.to_owned()),
            Err(_) => {
                Err(format!("no answer within {answer} s; if it still freezes, its guard thaws it"))
            }
        }
    }
}

/// How long the run waits for the answer to the thaw before it goes on; the guard goes on, too.
const ANSWER: Duration = Duration::from_secs(30);

/// An agent that takes longer to freeze is worth a line.
const UNUSUAL: Duration = Duration::from_secs(15);

const UNHEARD: &str = "its guard cannot be heard any more";

/// The first answer to a thaw.
#[derive(Debug, Clone, Copy)]
struct Thawed {
    count: u64,
    asked: bool,
}

async fn thawed(guard: &mut Guard) -> Result<Thawed, String> {
    let mut why = format!("no answer within {} s", ANSWER.as_secs());
    let answer = async {
        loop {
            match guard.next().await {
                Some(Said::Thaw { count, asked }) => return Ok(Thawed { count, asked }),
                Some(Said::NoThaw(text)) => why = text,
                Some(Said::Thawed) => return Err("it thawed by itself".to_owned()),
                Some(_) => {}
                None => return Err(UNHEARD.to_owned()),
            }
        }
    };
    tokio::time::timeout(ANSWER, answer).await.unwrap_or_else(|_| Err(why.clone()))
}

/// Whether every snapshot was made while everything was frozen. The guard knows best: it thawed at our
/// word, which we gave when all snapshots were made, or earlier.
fn verdict(
    frozen: u64,
    thawed: Result<Thawed, String>,
    made: Snapshots,
    seconds: u32,
) -> Result<(), String> {
    let thawed = thawed.map_err(|why| format!("the guest did not answer the thaw ({why})"))?;
    if frozen == 0 {
        return Err("the guest agent froze no file system".to_owned());
    }
    if made == Snapshots::TooLate || !thawed.asked {
        return Err(format!("the snapshots took longer than {seconds} s, the guard had thawed it"));
    }
    if thawed.count < frozen {
        return Err(format!(
            "{frozen} file systems were frozen, {} were still so at the end",
            thawed.count
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{Snapshots, Thawed, verdict};

    #[test]
    fn only_a_whole_freeze_that_lasts_until_all_snapshots_are_made_counts() {
        let thawed = |count, asked| Ok(Thawed { count, asked });
        let judge = |frozen, thawed, made| verdict(frozen, thawed, made, 10).is_ok();
        let (all, late) = (Snapshots::All, Snapshots::TooLate);
        assert!(judge(3, thawed(3, true), all));
        assert!(!judge(3, thawed(2, true), all), "one file system thawed by itself");
        assert!(!judge(3, thawed(0, true), all), "the guest thawed by itself");
        assert!(!judge(3, thawed(3, true), late), "the last snapshot came after the deadline");
        assert!(!judge(3, thawed(3, false), all), "the guard did not hear us before its deadline");
        assert!(!judge(0, thawed(0, true), all), "nothing was frozen");
        assert!(!judge(3, Err("no answer".to_owned()), all));
    }
}
