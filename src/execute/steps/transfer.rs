//! Steps that move data, or compare it. How a stream is watched stands in `moving.rs`.

use super::super::adopt::Adopting;
use super::super::transfer::Saving;
use super::super::{Execution, Stopped};
use crate::plan::TransferAction;
use crate::repository::image::{ImageOptions, ZeroRuns};
use std::sync::Arc;

impl Execution {
    pub(super) async fn transfer_step(
        self: &Arc<Self>,
        action: &TransferAction,
    ) -> Result<(), Stopped> {
        let options = self.ctx.limits.image;
        match action {
            TransferAction::Save { disk, volume, snapshot, since, image } => {
                let (compression, since) = (options.compression, since.as_ref());
                let image = *image;
                let saving =
                    Saving { disk, volume, snapshot, since, image, compression, striped: false };
                self.save_volume(saving).await
            }
            TransferAction::Adopt { disk, volume, snapshot, image, .. } => {
                let adopting = Adopting {
                    disk: disk.clone(),
                    volume: volume.clone(),
                    snapshot: snapshot.clone(),
                    image: *image,
                    // A base has no records of zeros; what is aligned has no meaning.
                    options: ImageOptions { zeros: ZeroRuns::Aligned, ..options },
                };
                self.adopt_volume(self.held.old()?, &adopting).await
            }
            TransferAction::Restore { disk, volume } => {
                self.restore_volume(self.held.restoring()?, disk, volume).await
            }
            TransferAction::Assemble { disk, .. } => self.assemble(disk).await,
            TransferAction::Audit { disk, volume, share } => {
                self.audit_volume((disk, volume), *share).await
            }
            TransferAction::Compare(comparison) => self.compare_stored(comparison).await,
        }
    }
}
