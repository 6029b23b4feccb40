//! The steps of an adoption: the old tool's files become base images of ours, each compared with the
//! snapshot that the next increment begins at. Nothing of the old tool's is written.

use super::moving::Direction;
use super::transfer::{Written, outcome};
use super::{Execution, OldFiles, Stopped};
use crate::clock::Stopwatch;
use crate::model::{DiskKey, ImageId, SnapshotIdentity, VolumeRef};
use crate::repository::image::{ImageError, ImageOptions, ImageSink, ImportedImage, import_volume};
use crate::repository::legacy::LegacyChain;
use crate::repository::{ImageKind, PointDraft};
use crate::storage::Export;
use crate::stream::Header;
use anyhow::Context as _;
use std::sync::Arc;

/// Damage that an adoption found. Nothing was adopted.
#[derive(Debug, thiserror::Error)]
pub enum FoundDamage {
    /// The files make another volume than the snapshot has.
    #[error(
        "snapshot {snapshot} is not what the files of eve4pve-barc hold: {why}. Nothing was adopted: run `backup`, which makes a base, and trust no older point of this disk without a look"
    )]
    Differs {
        /// Volume and snapshot.
        snapshot: String,
        /// What differs.
        why: String,
    },
    /// A file of the old tool is damaged.
    #[error(
        "a file of eve4pve-barc is damaged; nothing was adopted; run `backup`, which makes a base"
    )]
    Damaged(#[source] ImageError),
}

/// One volume on its way.
#[derive(Clone)]
pub(super) struct Adopting {
    pub disk: DiskKey,
    pub volume: VolumeRef,
    pub snapshot: SnapshotIdentity,
    pub image: ImageId,
    pub options: ImageOptions,
}

impl Execution {
    pub(super) async fn adopt_volume(
        self: &Arc<Self>,
        work: &OldFiles,
        adopting: &Adopting,
    ) -> Result<(), Stopped> {
        let begun = Stopwatch::start();
        let Adopting { disk, volume, snapshot, .. } = adopting;
        let storage = self.storage(volume)?;
        let facts = self.until_stopped(storage.volume(&volume.id.name)).await?;
        let facts = facts.with_context(|| format!("volume {volume} is gone"))?;
        facts.find(&format!("{volume}@{}", snapshot.name), snapshot)?;
        let imported = Arc::new(self.import_files(work, adopting).await?);
        let export = self.until_stopped(storage.export(&facts, snapshot, None)).await?;
        self.compare(adopting, imported.clone(), export).await?;
        let (image, compression) = (adopting.image, adopting.options.compression);
        let written = Written { disk, volume, source: snapshot, since: None, image, compression };
        let entry = written.entry(&facts, &imported.summary);
        let outcome = outcome(&entry, begun.elapsed().as_secs_f64());
        self.note(&format!("adopted {disk} of {volume}"));
        let mut state = self.state();
        state.outcome.volumes.push(outcome);
        state.images.push(entry);
        Ok(())
    }

    /// Reads the old tool's files twice: once to check all of them, once for their data.
    async fn import_files(
        self: &Arc<Self>,
        work: &OldFiles,
        adopting: &Adopting,
    ) -> Result<ImportedImage, Stopped> {
        let Adopting { disk, volume, snapshot, options, .. } = adopting.clone();
        let links = work.chains.get(&disk).with_context(|| format!("no files for {disk}"))?.clone();
        let files = self.on_open(move |_, open| {
            let files =
                |draft: &PointDraft| draft.image_files(&disk, ImageKind::Base, options.compression);
            Ok(open.with_draft(files)??)
        });
        let (data, index) = files.await?;
        let total = links.iter().map(|link| link.stored_bytes).sum();
        let meter = self.ctx.progress.begin(&format!("check {volume}"), total);
        let (bar, cancel) = (meter.clone(), self.stop.clone());
        let task = tokio::task::spawn_blocking(move || -> Result<ImportedImage, ImageError> {
            let chain = LegacyChain::open(&links, &|bytes: u64| {
                bar.add(bytes);
                cancel.check()
            })?;
            let header = Header { from: None, to: Some(snapshot.name), size: chain.size() };
            import_volume(&header, ImageSink { data, index }, options, |take| {
                chain.for_each_block::<ImageError>(&mut |offset, bytes| {
                    cancel.check().map_err(ImageError::Write)?;
                    take(offset, bytes)
                })
            })
        });
        let imported = task.await;
        meter.end();
        if self.stop.is_cancelled() {
            return Err(self.stopped());
        }
        imported?.map_err(|error| match error {
            ImageError::Damaged(_) | ImageError::BrokenChain { .. } => {
                Stopped::Failed(FoundDamage::Damaged(error).into())
            }
            other => Stopped::Failed(other.into()),
        })
    }

    /// Reads the snapshot whole: the one proof that an increment since it fits on these files.
    async fn compare(
        &self,
        adopting: &Adopting,
        imported: Arc<ImportedImage>,
        export: Export,
    ) -> Result<(), Stopped> {
        let snapshot = format!("{}@{}", adopting.volume, adopting.snapshot.name);
        let meter = self.ctx.progress.begin(&format!("compare {snapshot}"), imported.summary.size);
        let Export { reader, exit } = export;
        let moving = self.moving(Direction::OutOf, &adopting.volume);
        let mut reader = self.paced(reader, &moving);
        let bar = meter.clone();
        let task = tokio::task::spawn_blocking(move || {
            imported.differs_from(&mut reader, &|bytes| bar.add(bytes))
        });
        let differs = self.until_moved(task, exit, &moving).await;
        meter.end();
        match differs? {
            Some(why) => Err(FoundDamage::Differs { snapshot, why }.into()),
            None => Ok(()),
        }
    }
}
