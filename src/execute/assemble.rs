//! Writes one volume of a restore point into a file. Which stands in the plan; how the file is written is
//! `crate::assemble`'s.

use super::{Execution, Stopped};
use crate::assemble::{Assembled, Watch, assemble, partial};
use crate::clock::Stopwatch;
use crate::report::VolumeOutcome;
use crate::repository::Disk;
use crate::stall::{Pulse, Pulsed, StallWatch};
use std::sync::Arc;

impl Execution {
    pub(super) async fn assemble(self: &Arc<Self>, disk: &str) -> Result<(), Stopped> {
        let (begun, execution) = (Stopwatch::start(), self.clone());
        let name = disk.to_owned();
        let write = move || execution.write_file(&name);
        let written = match tokio::task::spawn_blocking(write).await? {
            Err(_) if self.ctx.cancel.is_cancelled() => return Err(Stopped::Interrupted),
            written => written?,
        };
        let volume = VolumeOutcome {
            disk: disk.to_owned(),
            volume: self.held.assembling()?.output.display().to_string(),
            logical_bytes: written.size,
            stream_bytes: written.data_bytes,
            seconds: begun.elapsed().as_secs_f64(),
            ..VolumeOutcome::default()
        };
        let outcome = &mut self.state().outcome;
        outcome.changes.push(format!("wrote {} into {}", volume.disk, volume.volume));
        outcome.volumes.push(volume);
        Ok(())
    }

    /// On a thread of its own, which keeps the lock should it be left to itself.
    fn write_file(&self, disk: &str) -> anyhow::Result<Assembled> {
        let work = self.held.assembling()?.clone();
        let (pulse, stop) = (Pulse::default(), self.stop.child());
        let pulsed = Pulsed { progress: self.ctx.progress.clone(), pulse: pulse.clone() };
        let (threads, limit) = (self.ctx.limits.image.threads, self.ctx.limits.stall_timeout);
        let partial = partial(&work.output);
        let (beats, going) = (pulse.clone(), stop.clone());
        let write = move || {
            let disk = &Disk::real();
            let watch = Watch { disk, progress: &pulsed, cancel: &going, pulse: &beats };
            assemble(&work.chain, &work.output, threads, &watch)
        };
        let what = &format!("assembling {disk}");
        let places = &format!("the repository or of {} (which stays)", partial.display());
        self.unless_it_hangs(
            &StallWatch { what, places, pulse: &pulse, limit, stop: &stop },
            write,
        )?
    }
}
