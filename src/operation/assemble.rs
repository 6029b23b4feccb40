//! Assembling one volume of a restore point as a file, between the hooks of a run: nothing that exists
//! is changed, so that there is no plan. How the file is written is not here: that is `crate::assemble`.

use super::hooked::{self, Caller, Failed};
use super::{Performed, waiting};
use crate::assemble::{Watch, assemble as write};
use crate::cancel::Cancel;
use crate::clock::{Clock, Stopwatch};
use crate::hooks::{About, At, Event, Hooks, Phase, VolumeFacts};
use crate::model::{DiskKey, Guest};
use crate::plan::damage::judge;
use crate::progress::Progress;
use crate::report::{Failure, GuestOutcome, Report, VolumeOutcome};
use crate::repository::{Lock, LockMode, LockOptions};
use crate::survey::{self, RestorePoint, Sought};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// What the user wants as a file.
pub struct AssembleRequest {
    /// The restore point.
    pub point: RestorePoint,
    /// How it was sought.
    pub sought: Sought,
    /// One of its disks, as [`RestorePoint::disk_names`] names it.
    pub disk: String,
    /// The file; it must not exist.
    pub output: PathBuf,
    /// Threads that decompress and check.
    pub threads: usize,
    /// How long to wait for a run that works on the guest.
    pub lock_wait: Duration,
    /// Who is told how far it is.
    pub progress: Arc<dyn Progress>,
    /// The user's own programs that are called on the way.
    pub hooks: Arc<Hooks>,
}

/// Writes the file. What went wrong with it is in the report, as with every guest.
///
/// # Errors
/// A hook stopped it before it began; nothing was changed.
pub fn assemble(
    request: &AssembleRequest,
    clock: &Clock,
    cancel: &Cancel,
) -> anyhow::Result<Performed> {
    let caller = Caller { hooks: &request.hooks, cancel };
    let work = || {
        let (started, begun) = (clock.now(), Stopwatch::start());
        let guest = request.guest();
        let not_done = |failed| hooked::ended_early(GuestOutcome::new(&guest), failed);
        let mut outcome = request.turn(&guest, caller).unwrap_or_else(not_done);
        outcome.point = Some(request.point.time());
        caller.guest_end(&guest, &mut outcome, begun);
        let report = Report::new("assemble", (started, clock.now()), vec![outcome], vec![]);
        Ok(Performed { report, plans: vec![] })
    };
    hooked::job_blocking(&request.hooks, cancel, work)
}

impl AssembleRequest {
    fn guest(&self) -> Guest {
        let point = &self.point;
        let (vmid, kind) = (point.vmid(), point.kind());
        Guest { vmid, kind, name: point.name(), node: point.node() }
    }

    fn turn(&self, guest: &Guest, caller: Caller<'_>) -> Result<GuestOutcome, Failed> {
        let _lock = self.lock(caller.cancel)?;
        // What was found before the lock may be gone or merged.
        let point = self.point.read_again().map_err(|error| (Failure::Other, error))?;
        let not_whole = self.known_damage(&point)?;
        let mut outcome = GuestOutcome::new(guest);
        outcome.warnings.extend(caller.guest_start(guest)?);
        let (written, warnings) =
            caller.around(self.event(guest), || self.write(&point, caller.cancel));
        outcome.warnings.extend(warnings);
        match written {
            Ok(volume) => {
                outcome.changes.push(format!("wrote {} into {}", volume.disk, volume.volume));
                outcome.volumes.push(volume);
                outcome.not_whole = not_whole;
            }
            Err(failed) => return Ok(hooked::ended_early(outcome, failed)),
        }
        Ok(outcome)
    }

    /// A shared lock, so that nothing removes what is read; none on what the old tool wrote, where
    /// we write nothing.
    fn lock(&self, cancel: &Cancel) -> Result<Option<Lock>, Failed> {
        let Some(directory) = self.point.directory() else { return Ok(None) };
        let options = LockOptions { wait: Some(self.lock_wait), what: "assemble".to_owned() };
        let lock = waiting::take(directory, LockMode::Shared, &options, cancel);
        lock.map(Some).map_err(|error| (error.failure(), error.into()))
    }

    /// What has to be told of the disk; a point that is known to be damaged must have been named. What
    /// the old tool wrote bears no marks.
    fn known_damage(&self, point: &RestorePoint) -> Result<Vec<String>, Failed> {
        let Ok(disk) = self.disk.parse::<DiskKey>() else { return Ok(Vec::new()) };
        let disks = [disk];
        let facts = survey::damage(point, &self.sought, &disks);
        judge(&facts, &disks).map_err(|damaged| (Failure::Conflict, damaged.into()))
    }

    fn event(&self, guest: &Guest) -> Event {
        let mut event = Event::new(Phase::new(About::Restore, At::Before)).of(guest);
        event.point = Some(self.point.time().to_string());
        // Hooks run in another directory than the user.
        let output = std::path::absolute(&self.output).unwrap_or_else(|_| self.output.clone());
        let (disk, file) = (self.disk.clone(), output.display().to_string());
        event.volume = Some(VolumeFacts { disk, file, first: true, ..VolumeFacts::default() });
        event
    }

    fn write(&self, point: &RestorePoint, cancel: &Cancel) -> Result<VolumeOutcome, Failed> {
        let begun = Stopwatch::start();
        let watch = Watch { progress: self.progress.as_ref(), cancel };
        let stored = point.chain_named(&self.disk);
        let written = stored.and_then(|chain| write(&chain, &self.output, self.threads, &watch));
        let written = written.map_err(|error| match cancel.is_cancelled() {
            true => (Failure::Interrupted, anyhow::anyhow!("interrupted; nothing is left")),
            false => (Failure::Other, error),
        })?;
        Ok(VolumeOutcome {
            disk: self.disk.clone(),
            volume: self.output.display().to_string(),
            logical_bytes: written.size,
            stream_bytes: written.data_bytes,
            seconds: begun.elapsed().as_secs_f64(),
            ..VolumeOutcome::default()
        })
    }
}
