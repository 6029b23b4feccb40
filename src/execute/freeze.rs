//! The frozen scope: guard, freeze, snapshots, thaw, in this order and on every path. It contains
//! nothing but snapshot creation, and what a point is worth is decided by the thaw. Whether the guest
//! was seen thawed is for `thaw.rs`.

use super::guard::{Duty, Guard, Said};
use super::state::Frozen;
use super::{BackupWork, Execution, Stopped, Work};
use crate::clock::Stopwatch;
use crate::plan::{Scope, Step};
use std::sync::Arc;
use std::time::Duration;
use tokio::task::{JoinError, JoinHandle};

impl Execution {
    /// Runs the steps while the guest is frozen. A guest that cannot be frozen, or cannot be
    /// guarded, is not left without a backup: its snapshots are made all the same, and the point
    /// says that it is worth less.
    pub(super) async fn while_frozen(
        self: Arc<Self>,
        scope: Scope,
        steps: &[Step],
    ) -> Result<(), Stopped> {
        let Scope::Frozen { seconds, answer } = scope;
        let Work::Backup(work) = &self.work else {
            return Err(Stopped::Failed(anyhow::anyhow!("only a backup freezes a guest")));
        };
        self.state().seen_running = true;
        self.state().frozen = Frozen::Broken;
        let mut guard = match self.guard(work, seconds).await? {
            Ok(guard) => guard,
            Err(why) => {
                self.warn(format!("not frozen, as nothing would thaw it for sure: {why}"));
                return self.run_beside(steps.to_vec()).await;
            }
        };
        let watch = self.thaw_to_be_seen(&guard, &work.token()).await;
        let frozen = self.freeze(&mut guard, answer).await;
        if self.world.cancel.is_cancelled() {
            guard.thaw().await;
            self.watch(watch, Some(guard));
            return Err(Stopped::Interrupted);
        }
        let begun = Stopwatch::start();
        let mut snapshots = tokio::spawn(self.clone().run_beside(steps.to_vec()));
        let deadline = Duration::from_secs(seconds.into());
        let joined = self.while_it_may_stay_frozen(&mut snapshots, deadline, begun).await;
        guard.thaw().await;
        let verdict = match frozen {
            Ok(count) => {
                let thawed = thawed(&mut guard).await;
                self.state().outcome.frozen_seconds = Some(begun.elapsed().as_secs_f64());
                let made = if joined.is_some() { Made::All } else { Made::TooLate };
                verdict(count, thawed, made, seconds)
            }
            Err(why) => Err(format!("the guest did not freeze ({why})")),
        };
        self.watch(watch, Some(guard));
        match verdict {
            Ok(()) => self.state().frozen = Frozen::Held,
            Err(why) => self.warn(format!("crash-consistent only: {why}")),
        }
        self.outcome_of(joined, snapshots).await
    }

    /// The guard that will freeze; or why there is none, and the guest must not be frozen.
    async fn guard(
        &self,
        work: &BackupWork,
        seconds: u32,
    ) -> Result<Result<Guard, String>, Stopped> {
        let (post, token) =
            (super::thaw::surveyed_post(&self.world, &self.plan.guest), work.token());
        let guard = tokio::select! {
            guard = Guard::start(&post, Duty::Freeze { seconds }, &token) => guard,
            () = self.world.cancel.cancelled() => return Err(Stopped::Interrupted),
        };
        Ok(guard.map_err(|error| format!("{:#}", anyhow::Error::from(error))))
    }

    /// Freezes and says how many file systems; or why not, or why nobody knows.
    async fn freeze(&self, guard: &mut Guard, answer: u32) -> Result<u64, String> {
        guard.freeze().await;
        let waits = async {
            tokio::time::sleep(UNUSUAL).await;
            self.note("the guest's agent takes long to answer the freeze");
            std::future::pending::<()>().await;
        };
        let limit = Duration::from_secs(answer.into());
        let said = tokio::select! {
            said = tokio::time::timeout(limit, guard.next()) => said,
            () = self.world.cancel.cancelled() => return Err("interrupted".to_owned()),
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

    /// Waits for the snapshots, but no longer than the guest may stay frozen for them: not beyond
    /// the deadline, and not when the user wishes to stop.
    async fn while_it_may_stay_frozen(
        &self,
        snapshots: &mut Snapshots,
        deadline: Duration,
        begun: Stopwatch,
    ) -> Option<Result<Result<(), Stopped>, JoinError>> {
        tokio::select! {
            joined = snapshots => Some(joined),
            () = self.world.cancel.cancelled() => None,
            () = tokio::time::sleep(deadline.saturating_sub(begun.elapsed())) => None,
        }
    }

    /// Snapshots that were late are still waited for: the point is worth less, but it is one.
    async fn outcome_of(
        &self,
        joined: Option<Result<Result<(), Stopped>, JoinError>>,
        snapshots: Snapshots,
    ) -> Result<(), Stopped> {
        let joined = match joined {
            Some(joined) => joined,
            None if self.world.cancel.is_cancelled() => {
                // They hear the wish, too, and end by themselves. Aborted, they could still begin to make
                // something while what was made is undone.
                let _ = snapshots.await;
                return Err(Stopped::Interrupted);
            }
            None => snapshots.await,
        };
        joined.unwrap_or_else(|panic| Err(Stopped::Failed(panic.into())))
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

/// Which snapshots were made when the word to thaw was given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Made {
    All,
    TooLate,
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

type Snapshots = JoinHandle<Result<(), Stopped>>;

/// Whether every snapshot was made while everything was frozen. The guard knows best: it thawed at our
/// word, which we gave when all snapshots were made, or earlier.
fn verdict(
    frozen: u64,
    thawed: Result<Thawed, String>,
    made: Made,
    seconds: u32,
) -> Result<(), String> {
    let thawed = thawed.map_err(|why| format!("the guest did not answer the thaw ({why})"))?;
    if frozen == 0 {
        return Err("the guest agent froze no file system".to_owned());
    }
    if made == Made::TooLate || !thawed.asked {
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
    use super::{Made, Thawed, verdict};

    #[test]
    fn only_a_whole_freeze_that_lasts_until_all_snapshots_are_made_counts() {
        let thawed = |count, asked| Ok(Thawed { count, asked });
        let judge = |frozen, thawed, made| verdict(frozen, thawed, made, 10).is_ok();
        let (all, late) = (Made::All, Made::TooLate);
        assert!(judge(3, thawed(3, true), all));
        assert!(!judge(3, thawed(2, true), all), "one file system thawed by itself");
        assert!(!judge(3, thawed(0, true), all), "the guest thawed by itself");
        assert!(!judge(3, thawed(3, true), late), "the last snapshot came after the deadline");
        assert!(!judge(3, thawed(3, false), all), "the guard did not hear us before its deadline");
        assert!(!judge(0, thawed(0, true), all), "nothing was frozen");
        assert!(!judge(3, Err("no answer".to_owned()), all));
    }
}
