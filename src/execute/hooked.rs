//! Where hooks stand around the steps of a plan. A step that a user may want to act before or
//! after is called for in phases; which, is a table here. Nothing is called while a guest is
//! frozen: the hooks of all snapshots of a freeze come before it and after its thaw.

use super::queue::QueuedTurn;
use super::{Execution, Stopped};
use crate::clock::Stopwatch;
use crate::hooks::{About, At, Event, Phase, VolumeFacts};
use crate::model::{Label, Moment, VolumeRef};
use crate::plan::{
    Action, GuestAction, HooksAfter, PointAction, Step, Then, TransferAction, VolumeAction,
};
use crate::repository::ImageKind;
use crate::repository::layout::image_file;
use std::sync::Arc;

/// One step for which hooks are called.
#[derive(PartialEq)]
struct Hooked {
    about: About,
    volume: Option<VolumeFacts>,
    point: Option<String>,
}

/// Hooks of a step that is done, which are called when the whole plan is.
pub(super) struct LateHooks {
    step: Step,
    hooked: Vec<Hooked>,
    begun: Stopwatch,
}

impl Execution {
    /// Carries out one step between its hooks.
    pub(super) async fn hooked_step(
        self: &Arc<Self>,
        step: &Step,
        turn: QueuedTurn,
    ) -> Result<(), Stopped> {
        if self.stop.is_cancelled() && !self.is_committed() && self.hears_the_wish() {
            let stopped = self.stopped();
            self.note_stopped(step, &stopped);
            return Err(stopped);
        }
        let steps = std::slice::from_ref(step);
        self.between_hooks(steps, async { self.step(step, turn).await }).await
    }

    /// Does the work between the hooks that come before and those that come after these steps.
    /// When one of the first stops it, the work is not begun.
    pub(super) async fn between_hooks(
        &self,
        steps: &[Step],
        work: impl Future<Output = Result<(), Stopped>>,
    ) -> Result<(), Stopped> {
        if self.ctx.hooks.is_empty() {
            return work.await;
        }
        let Some(first) = steps.first() else { return work.await };
        let hooked = self.hooked(steps);
        let begun = Stopwatch::start();
        let mut called = 0;
        let mut result = Ok(());
        for one in &hooked {
            called += 1;
            result = self.call(self.event(one, At::Before), first).await;
            if result.is_err() {
                break;
            }
        }
        if result.is_ok() {
            result = work.await;
        }
        if result.is_ok() && first.hooks_after == HooksAfter::ThePlan {
            self.state().late_hooks.push(LateHooks { step: first.clone(), hooked, begun });
            return result;
        }
        let at = if result.is_ok() { At::After } else { At::Abort };
        let error = result.as_ref().err().map(ToString::to_string);
        for one in &hooked[..called] {
            let event = self.event(one, at).ended(error.clone(), begun.elapsed().as_secs_f64());
            // Nothing can be stopped any more; what fails is a warning, which is noted.
            let _ = self.call(event, first).await;
        }
        result
    }

    /// Calls the hooks that waited for the end of the plan.
    pub(super) async fn call_late_hooks(&self) {
        let late = std::mem::take(&mut self.state().late_hooks);
        for LateHooks { step, hooked, begun } in late {
            for one in &hooked {
                let event = self.event(one, At::After).ended(None, begun.elapsed().as_secs_f64());
                // Nothing can be stopped any more; what fails is a warning, which is noted.
                let _ = self.call(event, &step).await;
            }
        }
    }

    /// Calls the hooks of one phase; what failed without stopping anything is a warning.
    async fn call(&self, event: Event, step: &Step) -> Result<(), Stopped> {
        match self.ctx.hooks.call(&event, &self.stop).await {
            Ok(warnings) => {
                warnings.into_iter().for_each(|warning| self.warn(warning));
                Ok(())
            }
            Err(_) if self.stop.is_cancelled() => Err(self.stopped()),
            Err(veto) if self.is_committed() => Err(Stopped::Failed(veto.into())),
            Err(veto) => {
                Err(Stopped::Failed(anyhow::Error::from(veto).context(self.what_stays(step))))
            }
        }
    }

    /// What a hook that says no leaves of the guest's plan.
    fn what_stays(&self, step: &Step) -> &'static str {
        let is_undone = step.on_failure.then == Then::UndoAll;
        let is_changed = !self.state().outcome.changes.is_empty();
        let is_new =
            |action: &Action| matches!(action, Action::Guest(GuestAction::CreateSnapshot { .. }));
        let makes = self.plan.steps().any(|step| is_new(&step.action));
        match (is_undone, is_changed) {
            (true, _) => "what was begun for the guest is undone",
            (false, true) if makes => {
                "the new snapshot is made, what was removed before is gone, the rest stays"
            }
            (false, true) => "what was deleted before is gone, the rest stays",
            (false, false) => "nothing was changed",
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
        // Steps of one check are one event.
        hooked.dedup();
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
        let about_point = |about, label: &Label, moment: Moment| {
            let point = Some(format!("{label} {moment}"));
            Some(Hooked { about, volume: None, point })
        };
        match action {
            Action::Volume(VolumeAction::CreateSnapshot { volume, snapshot, .. }) => {
                about_volume(About::SnapCreate, self.volume_facts(volume, &snapshot.to_string()))
            }
            Action::Volume(VolumeAction::DeleteSnapshot { volume, snapshot }) => {
                about_volume(About::SnapRemove, self.volume_facts(volume, &snapshot.name))
            }
            Action::Transfer(TransferAction::Save { disk, volume, snapshot, since, .. }) => {
                let kind = if since.is_some() { ImageKind::Increment } else { ImageKind::Base };
                let file = image_file(disk, kind, self.ctx.limits.image.compression);
                let mut facts = self.volume_facts(volume, &snapshot.to_string());
                facts.increment = since.is_some();
                facts.file = self.in_repository(&file);
                about_volume(About::Export, facts)
            }
            Action::Transfer(TransferAction::Adopt { disk, volume, snapshot, .. }) => {
                let compression = self.ctx.limits.image.compression;
                let mut facts = self.volume_facts(volume, &snapshot.name);
                facts.disk = disk.to_string();
                facts.file = self.in_repository(&image_file(disk, ImageKind::Base, compression));
                about_volume(About::Export, facts)
            }
            Action::Transfer(TransferAction::Restore { disk, volume }) => {
                let mut facts = self.volume_facts(volume, "");
                facts.disk = disk.to_string();
                about_volume(About::Restore, facts)
            }
            Action::Point(
                PointAction::Hide(point)
                | PointAction::Delete(point)
                | PointAction::RemoveMoved(point),
            ) => about_point(About::Prune, &point.label, point.moment),
            Action::Point(PointAction::Copy(point)) => {
                about_point(About::Export, &point.label, point.moment)
            }
            Action::Point(PointAction::VerifyCopy(point)) => {
                about_point(About::Verify, &point.label, point.moment)
            }
            Action::Point(PointAction::Merge { into, .. }) => {
                about_point(About::Merge, &into.label, into.moment)
            }
            Action::Guest(GuestAction::CreateSnapshot { name, .. }) => {
                about_volume(About::SnapCreate, whole_guest(name))
            }
            // A rollback has the hooks of the run and of the guest's turn, and no more.
            Action::Guest(GuestAction::DeleteSnapshot(snapshot)) => {
                about_volume(About::SnapRemove, whole_guest(&snapshot.name))
            }
            Action::Transfer(TransferAction::Assemble { disk, moment, file }) => {
                // Hooks run in another directory than the user.
                let absolute = std::path::absolute(file);
                let file = absolute.map_or_else(|_| file.clone(), |f| f.display().to_string());
                let facts = VolumeFacts { disk: disk.clone(), file, ..VolumeFacts::default() };
                let point = Some(moment.to_string());
                Some(Hooked { about: About::Restore, volume: Some(facts), point })
            }
            Action::Point(PointAction::Verify { .. })
            | Action::Transfer(TransferAction::Compare(_)) => {
                Some(Hooked { about: About::Verify, volume: None, point: None })
            }
            _ => None,
        }
    }

    fn volume_facts(&self, volume: &VolumeRef, snapshot: &str) -> VolumeFacts {
        let storage = self.storage(volume).ok();
        let disk = self.plan.steps().find_map(|step| match &step.action {
            Action::Transfer(TransferAction::Save { disk, volume: saved, .. })
                if saved == volume =>
            {
                Some(disk)
            }
            _ => None,
        });
        VolumeFacts {
            disk: disk.map(ToString::to_string).unwrap_or_default(),
            volume: volume.id.to_string(),
            snapshot: snapshot.to_owned(),
            place: storage.map(|storage| storage.place(&volume.id.name)).unwrap_or_default(),
            ..VolumeFacts::default()
        }
    }

    /// The path of a file of the open restore point; its name alone where none is open.
    fn in_repository(&self, file: &str) -> String {
        let open = self.held.open.as_ref();
        let directory = open.and_then(|open| open.with_draft(|draft| draft.path().to_owned()).ok());
        directory.map_or_else(|| file.to_owned(), |path| path.join(file).display().to_string())
    }
}

/// What hooks are told of a snapshot of a whole guest: it is of no volume.
fn whole_guest(snapshot: &str) -> VolumeFacts {
    VolumeFacts { snapshot: snapshot.to_owned(), ..VolumeFacts::default() }
}
