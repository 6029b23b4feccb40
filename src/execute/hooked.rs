//! Where hooks stand around the steps of a plan. A step that a user may want to act before or
//! after is called for in phases; which, is a table here. Nothing is called while a guest is
//! frozen: the hooks of all snapshots of a freeze come before it and after its thaw.

use super::{Execution, Stopped, Work};
use crate::clock::Stopwatch;
use crate::hooks::{About, At, Event, Phase, VolumeFacts};
use crate::model::VolumeId;
use crate::plan::{Action, Step};
use crate::repository::ImageKind;
use crate::repository::layout::image_file;
use std::sync::Arc;

/// One step for which hooks are called.
struct Hooked {
    about: About,
    volume: Option<VolumeFacts>,
    point: Option<String>,
}

impl Execution {
    /// Carries out one step between its hooks.
    pub(super) async fn hooked_step(self: &Arc<Self>, step: &Step) -> Result<(), Stopped> {
        if self.stop.is_cancelled() && !self.is_committed() {
            let stopped = self.stopped();
            self.note_stopped(step, &stopped);
            return Err(stopped);
        }
        let steps = std::slice::from_ref(step);
        self.between_hooks(steps, async { self.step(step).await }).await
    }

    /// Does the work between the hooks that come before and those that come after these steps.
    /// When one of the first stops it, the work is not begun.
    pub(super) async fn between_hooks(
        &self,
        steps: &[Step],
        work: impl Future<Output = Result<(), Stopped>>,
    ) -> Result<(), Stopped> {
        if self.world.hooks.is_empty() {
            return work.await;
        }
        let hooked = self.hooked(steps);
        let begun = Stopwatch::start();
        let mut called = 0;
        let mut result = Ok(());
        for one in &hooked {
            called += 1;
            result = self.call(self.event(one, At::Before)).await;
            if result.is_err() {
                break;
            }
        }
        if result.is_ok() {
            result = work.await;
        }
        let at = if result.is_ok() { At::After } else { At::Abort };
        let error = result.as_ref().err().map(ToString::to_string);
        for one in &hooked[..called] {
            let event = self.event(one, at).ended(error.clone(), begun.elapsed().as_secs_f64());
            // Nothing can be stopped any more; what fails is a warning, which is noted.
            let _ = self.call(event).await;
        }
        result
    }

    /// Calls the hooks of one phase; what failed without stopping anything is a warning.
    async fn call(&self, event: Event) -> Result<(), Stopped> {
        match self.world.hooks.call(&event, &self.stop).await {
            Ok(warnings) => {
                warnings.into_iter().for_each(|warning| self.warn(warning));
                Ok(())
            }
            Err(_) if self.stop.is_cancelled() => Err(self.stopped()),
            Err(veto) if self.is_committed() => Err(Stopped::Failed(veto.into())),
            Err(veto) => Err(Stopped::Failed(anyhow::Error::from(veto).context(self.what_stays()))),
        }
    }

    /// What a hook that says no leaves of the guest's plan.
    fn what_stays(&self) -> &'static str {
        let deleted = || !self.state().outcome.changes.is_empty();
        match &self.work {
            // A reset makes nothing, and what it took away does not come back.
            Work::Reset(_) if deleted() => "what was deleted before is gone, the rest stays",
            Work::Reset(_) => "nothing was changed",
            _ => "what was begun for the guest is undone",
        }
    }

    fn event(&self, hooked: &Hooked, at: At) -> Event {
        let mut event = Event::new(Phase::new(hooked.about, at)).of(&self.plan.guest);
        event.volume.clone_from(&hooked.volume);
        event.point.clone_from(&hooked.point);
        event
    }

    fn hooked(&self, steps: &[Step]) -> Vec<Hooked> {
        let mut hooked: Vec<Hooked> =
            steps.iter().filter_map(|step| self.hooked_action(&step.action)).collect();
        for one in &mut hooked {
            if let Some(volume) = &mut one.volume {
                volume.first = self.is_first(one.about, &volume.volume);
            }
        }
        hooked
    }

    /// Whether it is the plan's first volume of such a phase.
    fn is_first(&self, about: About, volume: &str) -> bool {
        let of = |step: &Step| self.hooked_action(&step.action).filter(|h| h.about == about);
        let first = self.plan.steps().find_map(|step| of(step).and_then(|h| h.volume));
        first.is_none_or(|first| first.volume == volume)
    }

    /// The table: which steps have hooks, and what those are told of them.
    fn hooked_action(&self, action: &Action) -> Option<Hooked> {
        let about_volume =
            |about, volume| Some(Hooked { about, volume: Some(volume), point: None });
        let about_point = |about, point: &crate::plan::RemovedPoint| {
            let point = Some(format!("{} {}", point.label, point.moment));
            Some(Hooked { about, volume: None, point })
        };
        match action {
            Action::CreateSnapshot { volume, snapshot, .. } => {
                about_volume(About::SnapCreate, self.volume_facts(volume, &snapshot.to_string()))
            }
            Action::DeleteSnapshot { volume, snapshot } => {
                about_volume(About::SnapRemove, self.volume_facts(volume, &snapshot.name))
            }
            Action::SaveVolume { disk, volume, snapshot, since } => {
                let kind = if since.is_some() { ImageKind::Increment } else { ImageKind::Base };
                let file = image_file(disk, kind, self.world.limits.image.compression);
                let mut facts = self.volume_facts(volume, &snapshot.to_string());
                facts.increment = since.is_some();
                facts.file = self.in_repository(&file);
                about_volume(About::Export, facts)
            }
            Action::AdoptVolume { disk, volume, snapshot, .. } => {
                let compression = self.world.limits.image.compression;
                let mut facts = self.volume_facts(volume, &snapshot.name);
                facts.disk = disk.to_string();
                facts.file = self.in_repository(&image_file(disk, ImageKind::Base, compression));
                about_volume(About::Export, facts)
            }
            Action::RestoreVolume { disk, volume } => {
                let mut facts = self.volume_facts(volume, "");
                facts.disk = disk.to_string();
                about_volume(About::Restore, facts)
            }
            Action::HidePoint(point) | Action::DeleteRestorePoint(point) => {
                about_point(About::Prune, point)
            }
            Action::MergeImages { into, .. } => about_point(About::Merge, into),
            _ => None,
        }
    }

    fn volume_facts(&self, volume: &VolumeId, snapshot: &str) -> VolumeFacts {
        let storage = self.world.storages.get(&volume.storage);
        let disk = self.plan.steps().find_map(|step| match &step.action {
            Action::SaveVolume { disk, volume: saved, .. } if saved == volume => Some(disk),
            _ => None,
        });
        VolumeFacts {
            disk: disk.map(ToString::to_string).unwrap_or_default(),
            volume: volume.to_string(),
            snapshot: snapshot.to_owned(),
            place: storage.map(|storage| storage.place(&volume.name)).unwrap_or_default(),
            ..VolumeFacts::default()
        }
    }

    /// The path of a file of the open restore point; its name alone where none is open.
    fn in_repository(&self, file: &str) -> String {
        let open = match &self.work {
            Work::Backup(work) => work.as_ref(),
            Work::Adopt(work) => &work.open,
            Work::Restore(_) | Work::Reset(_) => return file.to_owned(),
        };
        let directory = open.with_draft(|draft| draft.path().to_owned());
        directory.map_or_else(|_| file.to_owned(), |path| path.join(file).display().to_string())
    }
}
