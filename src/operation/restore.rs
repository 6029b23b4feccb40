//! A restore's way from the point that is meant to plan and work. Decisions stand in
//! `plan::restore`.

use super::backup::lock;
use super::{Mode, Prepared, Refusal};
use crate::execute::{RestoreWork, Work};
use crate::model::{DiskKey, Guest, VolumeId};
use crate::plan::restore::{RestorePolicy, plan};
use crate::plan::{Action, Plan};
use crate::pve::{GuestConfig, GuestControl, Identity, Restoration, RestoredVolume, restored_config};
use crate::report::Failure;
use crate::repository::{Lock, LockMode, chain_of};
use crate::survey::{self, SurveyedPoint};
use crate::world::World;
use anyhow::Context as _;
use std::collections::BTreeMap;
use std::sync::Arc;

/// What the user wants back, and where to.
pub struct RestoreRequest {
    /// The restore point that is meant.
    pub point: SurveyedPoint,
    /// Where it goes, and how.
    pub policy: RestorePolicy,
    /// Whether it keeps its identity where it keeps its vmid.
    pub identity: Identity,
}

impl RestoreRequest {
    /// The guest that comes back, before its node is known.
    pub(super) fn guest(&self) -> Guest {
        let manifest = &self.point.point.manifest;
        Guest {
            vmid: self.policy.target.or(self.policy.attach).unwrap_or(manifest.guest.vmid),
            kind: manifest.kind,
            name: manifest.name.clone(),
            node: manifest.node.clone(),
        }
    }

    pub(super) async fn prepare(
        &self,
        world: &Arc<World>,
        mode: Mode,
    ) -> Result<Prepared, Refusal> {
        // A restore shares the repository with others, so that nothing removes what it reads.
        let shared = match mode {
            Mode::Execute => {
                Some(lock(world, &self.point.directory, LockMode::Shared, "restore").await?)
            }
            Mode::DryRun => None,
        };
        let facts = survey::restore(world, &self.point.point, &self.policy).await?;
        let plan = plan(&facts, &self.policy)
            .map_err(|refusal| Refusal::Failed(Failure::Conflict, refusal.into()))?;
        let chains = self.chains(&plan)?;
        let config = self.config(&plan)?;
        let work = shared.map(|lock| self.work(world, &plan, (lock, chains, config)));
        Ok(Prepared { plan, work: work.transpose()? })
    }

    fn chains(&self, plan: &Plan) -> anyhow::Result<Chains> {
        let of_disk = |disk: &DiskKey| {
            let links = chain_of(&self.point.history, &self.point.point, disk)?;
            Ok((disk.clone(), links))
        };
        restored(plan).map(|(disk, _)| of_disk(disk)).collect()
    }

    /// The configuration that the guest gets; none when single volumes are restored.
    fn config(&self, plan: &Plan) -> anyhow::Result<Option<String>> {
        let written = plan.steps().any(|s| matches!(s.action, Action::WriteConfig { .. }));
        if !written {
            return Ok(None);
        }
        let manifest = &self.point.point.manifest;
        let saved = saved_text(&self.point, CONFIG).context("read the saved configuration")?;
        let saved = GuestConfig::parse(&saved);
        let another = plan.guest.vmid != manifest.guest.vmid;
        let size_of = |disk: &DiskKey| manifest.image(disk).map_or(0, |image| image.size);
        let volume = |(disk, volume): (&DiskKey, &VolumeId)| {
            let size = size_of(disk);
            (disk.clone(), RestoredVolume { volume: volume.clone(), size })
        };
        let restoration = Restoration {
            volumes: restored(plan).map(volume).collect(),
            identity: if another { Identity::New } else { self.identity },
        };
        let random: [u8; 256] = crate::entropy::random_bytes().context("read random bytes")?;
        let text = restored_config(&saved, &restoration, &mut random.into_iter())?;
        Ok(Some(text.to_string()))
    }

    fn work(
        &self,
        world: &World,
        plan: &Plan,
        (lock, chains, config): (Lock, Chains, Option<String>),
    ) -> anyhow::Result<Work> {
        let (vmid, kind) = (plan.guest.vmid, plan.guest.kind);
        let present = world.cluster.find(vmid)?;
        let (host_node, kind) =
            present.as_ref().map_or((plan.guest.node.clone(), kind), |g| (g.node.clone(), g.kind));
        let present_config = present.map(|guest| world.cluster.read_config(&guest)).transpose()?;
        Ok(Work::Restore(Box::new(RestoreWork {
            lock,
            chains,
            config,
            firewall: saved_text_if_there(&self.point, FIREWALL)?,
            control: GuestControl { host: world.hosts.host(&host_node), kind, vmid },
            present_config,
        })))
    }
}

type Chains = BTreeMap<DiskKey, Vec<crate::repository::image::ChainLink>>;

fn restored(plan: &Plan) -> impl Iterator<Item = (&DiskKey, &VolumeId)> {
    plan.steps().filter_map(|step| match &step.action {
        Action::RestoreVolume { disk, volume } => Some((disk, volume)),
        _ => None,
    })
}
