//! A stream between a volume and the repository while it moves: waits for its end, hears when it is to
//! end before, and notices when it stands still. What is in it stands elsewhere.

use super::stopping::GRACE;
use super::{Execution, Stopped};
use crate::cancel::Cancel;
use crate::model::VolumeRef;
use crate::stall::{Pulse, WaitsFor, Watched};
use crate::storage::Finish;
use std::io::{self, Read, Write};
use std::time::Duration;
use tokio::task::{JoinError, JoinHandle};

/// Which way a stream goes, seen from the storage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Direction {
    /// Out of a volume.
    OutOf,
    /// Into a volume.
    Into,
}

/// One stream.
#[derive(Debug)]
pub(super) struct Moving {
    direction: Direction,
    volume: VolumeRef,
    pulse: Pulse,
    /// Ends the thread that moves it.
    stop: Cancel,
}

/// How long a process whose pipe has ended may take to end by itself.
const AFTER_ITS_PIPE: Duration = Duration::from_millis(500);

/// How long a thread may take to end that was told to, and whose pipe is closed: it finishes the
/// writes that it has begun.
const THREADS_END: Duration = Duration::from_secs(10);

impl Moving {
    /// Whether the stream is to go on; asked by whoever waits on purpose, as a throttle does.
    pub fn go_on(&self) -> impl Fn() -> io::Result<()> + Send + use<> {
        let (pulse, stop) = (self.pulse.clone(), self.stop.clone());
        move || {
            pulse.beat();
            stop.check()
        }
    }

    /// The end of the stream that a storage reads from.
    pub fn watched_writer(&self, writer: Box<dyn Write + Send>) -> Watched<Box<dyn Write + Send>> {
        Watched::new(writer, &self.pulse, &self.stop)
    }
}

impl Execution {
    /// A stream that is about to begin.
    pub(super) fn moving(&self, direction: Direction, volume: &VolumeRef) -> Moving {
        let (pulse, stop) = (Pulse::default(), self.stop.child());
        Moving { direction, volume: volume.clone(), pulse, stop }
    }

    /// The end of the stream that a storage writes to, as fast as the run's limit lets it be read.
    pub(super) fn paced(
        &self,
        reader: Box<dyn Read + Send>,
        moving: &Moving,
    ) -> impl Read + Send + use<> {
        let watched = Watched::new(reader, &moving.pulse, &moving.stop);
        self.ctx.limits.throttle.reader(watched, moving.go_on())
    }

    /// Waits for a stream's thread and then for its process.
    ///
    /// # Errors
    /// The transfer failed, stood still, or is to end; then neither of the two is at work any more,
    /// unless the repository's file system keeps the thread.
    pub(super) async fn until_moved<T, E>(
        &self,
        mut task: JoinHandle<Result<T, E>>,
        exit: Finish,
        moving: &Moving,
    ) -> Result<T, Stopped>
    where
        E: std::error::Error + Send + Sync + 'static,
    {
        let limit = self.ctx.limits.stall_timeout;
        let stalled = moving.pulse.stands_still(limit, || self.warn_of_stall(moving));
        tokio::select! {
            biased;
            joined = &mut task => self.ended(joined, exit, moving).await,
            () = self.stop.cancelled() => {
                self.break_off(task, exit, moving).await;
                Err(self.stopped())
            }
            () = stalled => {
                let waits_for = moving.pulse.waits_for();
                self.break_off(task, exit, moving).await;
                Err(anyhow::anyhow!(stalled_text(moving, waits_for, limit)).into())
            }
        }
    }

    /// The thread has ended; whether it was all is the process's to say.
    async fn ended<T, E>(
        &self,
        joined: Result<Result<T, E>, JoinError>,
        mut exit: Finish,
        moving: &Moving,
    ) -> Result<T, Stopped>
    where
        E: std::error::Error + Send + Sync + 'static,
    {
        let error = match joined? {
            Ok(done) => {
                let mut end = std::pin::pin!(exit.wait());
                let (limit, silent) = (self.ctx.limits.stall_timeout, Pulse::default());
                tokio::select! {
                    biased;
                    ended = &mut end => return Ok(ended.map(|()| done)?),
                    () = self.stop.cancelled() => {}
                    () = silent.stands_still(limit, || self.warn_of_stall(moving)) => {
                        let text = stalled_text(moving, WaitsFor::Storage, limit);
                        return Err(anyhow::anyhow!(text).into());
                    }
                }
                // All bytes are on the other side: an import may have but a moment to go.
                if moving.direction == Direction::Into {
                    let _ = tokio::time::timeout(GRACE, end).await;
                }
                return Err(self.stopped());
            }
            Err(error) => error,
        };
        if self.stop.is_cancelled() {
            self.let_end(exit, moving).await;
            return Err(self.stopped());
        }
        // A process that failed by itself knows better why; one that still runs does not.
        tokio::time::sleep(AFTER_ITS_PIPE).await;
        exit.kill();
        let error = anyhow::Error::new(error);
        Err(match exit.wait().await {
            Err(cause) => error.context(format!("{:#}", anyhow::Error::from(cause))),
            Ok(()) => error,
        }
        .into())
    }

    /// Ends a stream in its middle. An import's process is given the end of its input and a few
    /// seconds: Ceph takes a killed one for a user of the image for another half minute, in which
    /// the image cannot be deleted.
    async fn break_off<T>(&self, mut task: JoinHandle<T>, mut exit: Finish, moving: &Moving) {
        moving.stop.cancel();
        let mut is_ended = false;
        if moving.direction == Direction::Into {
            is_ended = tokio::time::timeout(GRACE, &mut task).await.is_ok();
        }
        if !is_ended {
            exit.kill();
            let most = THREADS_END.min(self.ctx.limits.stall_timeout);
            is_ended = tokio::time::timeout(most, &mut task).await.is_ok();
        }
        self.let_end(exit, moving).await;
        if !is_ended {
            self.note_stuck();
            self.leave(format!(
                "the thread that moves the data of {} does not end: the file system of the repository does not answer",
                moving.volume
            ));
        }
    }

    /// Waits for a process that has nothing more to do, and kills it when it goes on.
    async fn let_end(&self, mut exit: Finish, moving: &Moving) {
        if moving.direction == Direction::OutOf {
            exit.kill();
        }
        // Dropped, it is killed.
        let _ = tokio::time::timeout(GRACE, exit.wait()).await;
    }

    fn warn_of_stall(&self, moving: &Moving) {
        let limit = self.ctx.limits.stall_timeout.as_secs_f64();
        let text = format!(
            "{}: no byte for {} s; at {limit} s it is given up (--stall-timeout)",
            moving.name(),
            limit / 2.0
        );
        tracing::warn!(guest = %self.plan.guest.vmid, "{text}");
        self.warn(text);
    }
}

impl Moving {
    fn name(&self) -> String {
        match self.direction {
            Direction::OutOf => format!("the export of {}", self.volume),
            Direction::Into => format!("the import into {}", self.volume),
        }
    }
}

fn stalled_text(moving: &Moving, waits_for: WaitsFor, limit: Duration) -> String {
    let look = match waits_for {
        WaitsFor::Storage => {
            "the storage does not go on: look at its health (`ceph -s`, `ceph health detail`), and run this again; where it is as slow as that in good health, raise --stall-timeout"
        }
        WaitsFor::Repository => {
            "the repository's file system does not go on: look at its mount and its server, and run this again"
        }
    };
    format!("{} stood still for {} s and was given up; {look}", moving.name(), limit.as_secs_f64())
}
