//! Moves one volume into the open restore point: export, image file, and the proof that it was all.
//! Which volume and since when stands in the plan.

use super::moving::Direction;
use super::steps::snapshot_in;
use super::{Execution, Stopped};
use crate::clock::Stopwatch;
use crate::model::{DiskKey, ImageId, SnapshotIdentity, SnapshotName, VolumeRef, VolumeShape};
use crate::plan::BaseImage;
use crate::report::VolumeOutcome;
use crate::repository::image::{
    Compression, ImageOptions, ImageSink, ImageSummary, ZeroRuns, write_image,
};
use crate::repository::layout::image_file;
use crate::repository::{ImageEntry, ImageKind};
use crate::storage::{Export, VolumeFacts};
use crate::stream::Header;
use std::sync::Arc;

/// One volume on its way into the restore point.
pub(super) struct Saving<'a> {
    pub disk: &'a DiskKey,
    pub volume: &'a VolumeRef,
    pub snapshot: &'a SnapshotName,
    pub since: Option<&'a BaseImage>,
    pub image: ImageId,
    pub compression: Compression,
    /// Whether the volume has striping of its own, where zeros must be written.
    pub striped: bool,
}

impl Saving<'_> {
    fn kind(&self) -> ImageKind {
        if self.since.is_some() { ImageKind::Increment } else { ImageKind::Base }
    }
}

/// An image that was written, as far as its file does not tell.
pub(super) struct Written<'a> {
    pub disk: &'a DiskKey,
    pub volume: &'a VolumeRef,
    /// The snapshot that it was made from.
    pub source: &'a SnapshotIdentity,
    /// What it is an increment of.
    pub since: Option<&'a BaseImage>,
    /// The id that it gets.
    pub image: ImageId,
    pub compression: Compression,
}

impl Written<'_> {
    /// Its entry in the manifest.
    pub(super) fn entry(&self, facts: &VolumeFacts, summary: &ImageSummary) -> ImageEntry {
        let kind = if self.since.is_some() { ImageKind::Increment } else { ImageKind::Base };
        ImageEntry {
            id: self.image,
            parent: self.since.map(|base| base.image),
            disk: self.disk.clone(),
            device: device(self.disk),
            volume: self.volume.id.clone(),
            size: summary.size,
            // The volume may have grown since the snapshot.
            shape: VolumeShape { size: summary.size, ..facts.shape.clone() },
            source: self.source.clone(),
            base_source: self.since.map(|base| base.snapshot.clone()),
            from: summary.from.clone(),
            to: self.source.name.clone(),
            file: image_file(self.disk, kind, self.compression),
            compression: self.compression,
            stream_bytes: summary.stream_bytes,
            stored_bytes: summary.stored_bytes,
            data_bytes: summary.data_bytes,
            digest: summary.digest,
            merged: 0,
            other: serde_json::Map::new(),
        }
    }
}

/// What vzdump calls the device (PVE::VZDump::QemuServer); a container's is its key.
fn device(disk: &DiskKey) -> String {
    match disk.as_str() {
        key if key.starts_with("mp") || key == "rootfs" => key.to_owned(),
        key if key.starts_with("tpmstate") => format!("drive-{key}-backup"),
        key => format!("drive-{key}"),
    }
}

impl Execution {
    pub(super) async fn save_volume(
        self: &Arc<Self>,
        mut saving: Saving<'_>,
    ) -> Result<(), Stopped> {
        let begun = Stopwatch::start();
        let facts = self.until_stopped(self.present(saving.volume)).await?;
        saving.striped = facts.shape.striping.is_some();
        let own = snapshot_in(&facts, saving.volume, saving.snapshot)?.clone();
        let since = saving.since.map(|base| &base.snapshot);
        let storage = self.storage(saving.volume)?;
        let export = storage.export(&facts, &own.identity, since);
        let export = self.until_stopped(export).await?;
        let header = Header {
            from: since.map(|identity| identity.name.clone()),
            to: Some(own.identity.name.clone()),
            size: own.size,
        };
        let summary = self.write_image(&saving, export, header).await?;
        let Saving { disk, volume, since, image, compression, .. } = saving;
        let written = Written { disk, volume, source: &own.identity, since, image, compression };
        let entry = written.entry(&facts, &summary);
        let outcome = outcome(&entry, begun.elapsed().as_secs_f64());
        self.note(&format!("saved {disk} of {volume} ({})", outcome.kind));
        let mut state = self.state();
        state.outcome.volumes.push(outcome);
        state.images.push(entry);
        Ok(())
    }

    /// Moves one stream into its file on a thread of its own. The transfer counts only when the
    /// stream was whole and the process behind it ended well, too.
    async fn write_image(
        self: &Arc<Self>,
        saving: &Saving<'_>,
        export: Export,
        header: Header,
    ) -> Result<ImageSummary, Stopped> {
        let zeros = if saving.striped { ZeroRuns::Written } else { ZeroRuns::Aligned };
        let options = ImageOptions { zeros, ..self.ctx.limits.image };
        let (disk, kind) = (saving.disk.clone(), saving.kind());
        let files = self.on_open(move |_, open| {
            Ok(open.with_draft(|draft| draft.image_files(&disk, kind, options.compression))??)
        });
        let (data, index) = files.await?;
        let total = if saving.since.is_some() { 0 } else { header.size };
        let what = format!("{} {}", self.plan.guest.vmid, saving.volume);
        let meter = self.ctx.progress.begin(&what, total);
        let Export { reader, exit } = export;
        let moving = self.moving(Direction::OutOf, saving.volume);
        let mut reader = self.paced(reader, &moving);
        let bar = meter.clone();
        let task = tokio::task::spawn_blocking(move || {
            let files = ImageSink { data, index };
            write_image(&mut reader, &header, files, options, &|bytes| bar.add(bytes))
        });
        let written = self.until_moved(task, exit, &moving).await;
        meter.end();
        written
    }
}

pub(super) fn outcome(entry: &ImageEntry, seconds: f64) -> VolumeOutcome {
    VolumeOutcome {
        disk: entry.disk.to_string(),
        volume: entry.volume.to_string(),
        kind: if entry.parent.is_some() { "increment" } else { "base" }.to_owned(),
        logical_bytes: entry.size,
        stream_bytes: entry.stream_bytes,
        stored_bytes: entry.stored_bytes,
        seconds,
    }
}
