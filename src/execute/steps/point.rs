//! Steps on restore points and on what belongs to them in a repository.

use super::super::state::consistency;
use super::super::undo::Undo;
use super::super::{Execution, OpenPoint, Stopped, StoredGuest, named};
use crate::model::{ChainId, Label, Moment};
use crate::plan::PointAction;
use crate::plan::repair::{IfDamaged, Mend};
use crate::repository::{Manifest, RepositoryError, Skipped, State};
use crate::survey::ADOPTED;
use anyhow::Context as _;
use std::sync::{Arc, PoisonError};

impl Execution {
    pub(super) async fn point_step(self: &Arc<Self>, action: &PointAction) -> Result<(), Stopped> {
        if !action.is_pruning() {
            self.held.points().forget();
        }
        match action.clone() {
            PointAction::InitRepository { .. } => {
                let target = self.held.target()?.clone();
                Ok(tokio::task::spawn_blocking(move || target.begin()).await??)
            }
            PointAction::CreateGuestDirectory => {
                let place = self.held.place()?.clone();
                Ok(tokio::task::spawn_blocking(move || place.make()).await??)
            }
            PointAction::SweepDebris { directory } => self.sweep(&directory).await,
            PointAction::Mend(Mend::Index { file, if_damaged: IfDamaged::IsMarked }) => {
                self.rebuild_index(&file).await
            }
            PointAction::Mend(mend) => self.mend(&mend).await,
            PointAction::ResetChain { chain } => self.confirm(chain),
            PointAction::BeginChain { label, chain } => self.begin_chain(label, chain).await,
            PointAction::Begin { label, moment } => self.begin(&label, moment).await,
            PointAction::Commit => self.commit().await,
            PointAction::Protect { point, notes } => {
                self.on_named(move |_, stored| named::protect(stored, &point, notes)).await
            }
            PointAction::Unprotect { point, notes } => {
                self.on_named(move |_, stored| named::unprotect(stored, &point, notes)).await
            }
            PointAction::Hide(point) if point.is_named => {
                self.on_named(move |held, stored| named::hide(held, stored, &point)).await
            }
            PointAction::Delete(point) if point.is_named => {
                self.on_named(move |held, stored| named::delete(held, stored, &point)).await
            }
            PointAction::SweepLeftovers { .. } => self.prune(|pruner| pruner.sweep()).await,
            PointAction::Hide(point) => self.prune(move |pruner| pruner.hide(&point)).await,
            PointAction::Merge { into, from } => {
                self.prune(move |pruner| pruner.merge(&into, &from)).await
            }
            PointAction::Delete(point) => self.prune(move |pruner| pruner.delete(&point)).await,
            PointAction::Verify { directory, label, part } => {
                self.verify_points(&directory, label.as_ref(), part).await
            }
            PointAction::Mark(marks) => self.mark(&marks).await,
            PointAction::CopyMarks(point) => self.copy(move |copier| copier.mark(&point)).await,
            PointAction::Copy(point) => self.copy(move |copier| copier.point(&point)).await,
            PointAction::VerifyCopy(point) => self.copy(move |copier| copier.verify(&point)).await,
            PointAction::HandOverChain { label, new } => {
                self.copy(move |copier| copier.hand_over(&label, new)).await
            }
            PointAction::RemoveMoved(point) => self.copy(move |copier| copier.remove(&point)).await,
        }
    }

    /// A run whose lock was taken over must not delete what another one builds on.
    fn confirm(&self, chain: ChainId) -> Result<(), Stopped> {
        match self.held.chains.get(&chain).map(Arc::as_ref) {
            Some(StoredGuest { directory, lock }) => Ok(lock.confirm(directory.path())?),
            None => Ok(()),
        }
    }

    /// Works on the repository on a thread of its own: a disk that does not answer must not hold up the
    /// threads that thaw and watch other guests. Nothing else reaches a guest's directory.
    pub(in crate::execute) async fn on_disk<T: Send + 'static>(
        self: &Arc<Self>,
        act: impl FnOnce(&Self, &StoredGuest) -> anyhow::Result<T> + Send + 'static,
    ) -> anyhow::Result<T> {
        let execution = self.clone();
        let act = move || act(&execution, execution.held.stored()?);
        tokio::task::spawn_blocking(act).await?
    }

    /// The same with the point that is made.
    pub(in crate::execute) async fn on_open<T: Send + 'static>(
        self: &Arc<Self>,
        act: impl FnOnce(&StoredGuest, &OpenPoint) -> anyhow::Result<T> + Send + 'static,
    ) -> anyhow::Result<T> {
        self.on_disk(move |execution, stored| act(stored, execution.held.open()?)).await
    }

    async fn sweep(self: &Arc<Self>, directory: &str) -> Result<(), Stopped> {
        let wanted = directory.to_owned();
        let swept = self.on_open(move |stored, open| {
            let debris = open.debris.iter().find(|debris| debris.path.ends_with(&wanted));
            let debris = debris.with_context(|| format!("{wanted} was not surveyed"))?;
            Ok(stored.directory.sweep(&stored.lock, debris)?)
        });
        let stays = swept.await?;
        self.note(&format!("removed {directory}, which an interrupted run had left"));
        self.state().outcome.warnings.extend(stays.map(|foreign| foreign.to_string()));
        Ok(())
    }

    /// An image that turns out to be damaged is marked, so that the next survey of this very run makes
    /// a base. An index that only cannot be written keeps no increment from following.
    async fn rebuild_index(self: &Arc<Self>, file: &str) -> Result<(), Stopped> {
        let image = file.to_owned();
        let rebuilt = self.on_disk(move |execution, stored| {
            let path = stored.directory.path().join(&image);
            let rebuilt = stored.directory.rebuild_index(&stored.lock, &path);
            let Err(RepositoryError::Damaged { why, .. }) = &rebuilt else {
                return Ok(Ok(rebuilt.err()));
            };
            let now = execution.ctx.clock.now();
            stored.directory.mark_damaged(&stored.lock, &path, (why, now))?;
            Ok(Err(Stopped::Changed(format!("{image} is damaged ({why})"))))
        });
        match rebuilt.await?? {
            None => self.note(&format!("made the index of {file} again")),
            Some(error) => self.warn(format!(
                "the index of {file} could not be made again: {:#}",
                anyhow::Error::from(error)
            )),
        }
        Ok(())
    }

    /// In the repository that points are copied to, or in the one that a point is made in.
    async fn begin_chain(self: &Arc<Self>, label: Label, chain: ChainId) -> Result<(), Stopped> {
        if self.held.copying.is_some() {
            let done = self.on_copied(move |copier| copier.begin_chain(&label, chain)).await?;
            self.note(&done);
            return Ok(());
        }
        let saved = self.on_open(|stored, open| {
            Ok(stored.directory.save_record(&stored.lock, &open.record)?)
        });
        Ok(saved.await?)
    }

    async fn begin(self: &Arc<Self>, label: &Label, moment: Moment) -> Result<(), Stopped> {
        self.will_make(Undo::Draft);
        let label = label.clone();
        let begun = self.on_disk(move |execution, stored| {
            let open = execution.held.open()?;
            stored.directory.save_record(&stored.lock, &open.record)?;
            let draft = stored.directory.begin(&stored.lock, &label, moment)?;
            execution.state().outcome.point = Some(draft.moment());
            *open.draft.lock().unwrap_or_else(PoisonError::into_inner) = Some(draft);
            Ok(())
        });
        Ok(begun.await?)
    }

    async fn commit(self: &Arc<Self>) -> Result<(), Stopped> {
        let manifest = self.manifest(self.held.open()?);
        let committed = self.on_open(move |stored, open| {
            Ok(open.with_draft(|draft| draft.commit(&stored.lock, manifest))??)
        });
        let committed = committed.await?;
        let mut state = self.state();
        state.committed = true;
        let warnings = committed.warnings.into_iter();
        let warnings = warnings.map(|w| format!("after the commit: {:#}", anyhow::Error::from(w)));
        state.outcome.warnings.extend(warnings);
        // The snapshots are needed from now on: they stay.
        state.undo.clear();
        drop(state);
        self.note("committed the restore point");
        Ok(())
    }

    fn manifest(&self, work: &OpenPoint) -> Manifest {
        let guest = &self.plan.guest;
        let mut state = self.state();
        let worth = consistency(&state, work.run_state);
        state.outcome.consistency = Some(worth.to_string());
        let mut images = state.images.clone();
        images.sort_by(|a, b| a.disk.cmp(&b.disk));
        let skipped = self.plan.skipped.iter().filter_map(|skipped| {
            let disk = skipped.disk.parse().ok()?;
            let by_configuration = Some(skipped.by_configuration);
            Some(Skipped { disk, reason: skipped.reason.clone(), by_configuration })
        });
        let mut other = serde_json::Map::new();
        if let Some(old) = &self.held.old {
            other.insert(ADOPTED.to_owned(), serde_json::Value::from(old.origin.as_str()));
        }
        Manifest {
            format: crate::repository::FORMAT,
            requires: Vec::new(),
            point: work.point,
            // Order, name and digests are the draft's to say.
            seq: 0,
            label: work.label.clone(),
            time: state.outcome.point.unwrap_or(Moment::from_unix(0)),
            config_digest: None,
            firewall_digest: None,
            chain: work.chain,
            guest: work.record.guest.clone(),
            kind: guest.kind,
            name: guest.name.clone(),
            node: guest.node.clone(),
            consistency: worth,
            state: State::Committed,
            images,
            skipped: skipped.collect(),
            other,
        }
    }
}
