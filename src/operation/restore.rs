//! A restore's way from the point that is meant to plan and work. Decisions stand in
//! `plan::restore`.

use super::backup::lock;
use super::{Mode, Prepared, Refusal};
use crate::execute::{RestoreWork, Work};
use crate::model::{DiskKey, Guest, VolumeId};
use crate::node::unfinished::MadeVolume;
use crate::plan::restore::{
    MOST_UNUSED, PresentGuest, RestoreFacts, RestorePolicy, StoredVolume, made_anew, plan,
};
use crate::plan::{Action, Plan};
use crate::pve::{
    GuestConfig, GuestControl, Identity, MacPrefix, Restoration, RestoredVolume, restored_config,
};
use crate::report::Failure;
use crate::repository::{Lock, LockMode, StoredChain};
use crate::survey::{self, RestorePoint, Sought, SurveyedRestore};
use crate::world::World;
use anyhow::Context as _;
use std::collections::BTreeMap;
use std::sync::Arc;

/// What the user wants back, and where to.
pub struct RestoreRequest {
    /// The restore point that is meant.
    pub point: RestorePoint,
    /// How it was sought.
    pub sought: Sought,
    /// Where it goes, and how.
    pub policy: RestorePolicy,
}

impl RestoreRequest {
    /// The guest that comes back, before its node is known.
    pub(super) fn guest(&self) -> Guest {
        let point = &self.point;
        Guest {
            vmid: self.policy.target.or(self.policy.attach).unwrap_or(point.vmid()),
            kind: point.kind(),
            name: point.name(),
            node: point.node(),
        }
    }

    pub(super) async fn prepare(
        &self,
        world: &Arc<World>,
        mode: Mode,
    ) -> Result<Prepared, Refusal> {
        // A restore shares the repository with others, so that nothing removes what it reads.
        // Until then it was free to, and what was found may be gone or merged.
        let (shared, point) = match mode {
            Mode::Execute => (Some(self.lock(world).await?), self.point.read_again()?),
            Mode::DryRun => (None, self.point.clone()),
        };
        let SurveyedRestore { facts, settled } =
            survey::restore(world, &point, &self.sought, &self.policy).await?;
        let plan = plan(&facts, &self.policy)
            .map_err(|refusal| Refusal::Failed(Failure::Conflict, refusal.into()))?;
        let chains = chains(&point, &plan)?;
        let config = self.config(&point, &plan, (&facts, world.cluster.mac_prefix()?))?;
        let firewall = facts.firewall.unwrap_or_default();
        let present = facts.present.map(|present| present.config);
        let files = Files { chains, config, firewall, present, settled };
        let work = shared.map(|lock| work(world, &plan, lock, files));
        Ok(Prepared { plan, work: work.transpose()? })
    }

    async fn lock(&self, world: &World) -> anyhow::Result<Option<Lock>> {
        match &self.point {
            RestorePoint::Ours(ours) => {
                lock(world, &ours.directory, LockMode::Shared, "restore").await.map(Some)
            }
            RestorePoint::Barc(_) => Ok(None),
        }
    }

    /// The configuration that the guest gets; none when single volumes are restored.
    fn config(
        &self,
        point: &RestorePoint,
        plan: &Plan,
        (facts, mac_prefix): (&RestoreFacts, MacPrefix),
    ) -> anyhow::Result<Option<String>> {
        let written = plan.steps().any(|s| matches!(s.action, Action::WriteConfig { .. }));
        if !written {
            return Ok(None);
        }
        let saved = GuestConfig::parse(&point.config()?);
        let another = self.policy.makes_another(point.vmid(), plan.guest.vmid);
        let held = point.volumes()?;
        let size_of = |disk: &DiskKey| {
            held.iter().find(|stored| stored.disk == *disk).map_or(0, |stored| stored.shape.size)
        };
        let volume = |(disk, volume): (&DiskKey, &VolumeId)| {
            let size = size_of(disk);
            (disk.clone(), RestoredVolume { volume: volume.clone(), size })
        };
        let mut volumes: BTreeMap<_, _> = restored(plan).map(volume).collect();
        volumes.extend(self.cloud_init_in_place(plan, &held));
        let identity = if another { Identity::New } else { Identity::Kept };
        let made_anew = made_anew(facts, plan.guest.vmid);
        let restoration = Restoration { volumes, identity, made_anew, mac_prefix };
        let random: [u8; 256] = crate::entropy::random_bytes().context("read random bytes")?;
        let text = restored_config(&saved, &restoration, &mut random.into_iter())?;
        Ok(Some(with_unused(text, facts.present.as_ref())?.to_string()))
    }

    /// A cloud-init volume that stays in place is named by the restored configuration, too: PVE
    /// knows it by its name only and writes it anew at the next start.
    fn cloud_init_in_place(
        &self,
        plan: &Plan,
        held: &[StoredVolume],
    ) -> Vec<(DiskKey, RestoredVolume)> {
        let left = held.iter().filter(|image| restored(plan).all(|(disk, _)| *disk != image.disk));
        let named = left.filter(|image| image.volume.own_name().ends_with("cloudinit"));
        named
            .map(|image| {
                let storage =
                    crate::plan::restore::storage_for(&self.policy, &image.volume.storage);
                let name = format!("vm-{}-cloudinit", plan.guest.vmid);
                let volume = VolumeId { storage, name };
                (image.disk.clone(), RestoredVolume { volume, size: image.shape.size })
            })
            .collect()
    }
}

/// What the plan's steps read.
struct Files {
    chains: Chains,
    config: Option<String>,
    firewall: Option<String>,
    /// The configuration that is replaced.
    present: Option<String>,
    /// The notes that nobody needs any more.
    settled: Vec<MadeVolume>,
}

fn work(world: &World, plan: &Plan, lock: Option<Lock>, files: Files) -> anyhow::Result<Work> {
    let Guest { vmid, kind, ref node, .. } = plan.guest;
    let present = world.cluster.find(vmid)?;
    let (host_node, kind) =
        present.as_ref().map_or((node.as_str(), kind), |g| (g.node.as_str(), g.kind));
    Ok(Work::Restore(Box::new(RestoreWork {
        lock,
        chains: files.chains,
        config: files.config,
        firewall: files.firewall,
        control: GuestControl { host: world.hosts.host(host_node), kind, vmid },
        present_config: files.present,
        settled: files.settled,
    })))
}

/// Keeps the volumes of a replaced configuration as unused disks, so that nothing is lost by it.
fn with_unused(
    mut config: GuestConfig,
    present: Option<&PresentGuest>,
) -> anyhow::Result<GuestConfig> {
    let Some(present) = present else { return Ok(config) };
    let named: Vec<VolumeId> = config.volumes().into_iter().filter_map(|v| v.volume).collect();
    for volume in present.unused(&named) {
        let mut keys = (0..MOST_UNUSED).map(|n| format!("unused{n}"));
        let free = keys.find(|key| config.get(key).is_none());
        let free = free.with_context(|| format!("no key is free to keep {volume} as unused"))?;
        config.set(&free, &volume.to_string());
    }
    Ok(config)
}

fn chains(point: &RestorePoint, plan: &Plan) -> anyhow::Result<Chains> {
    let of_disk = |disk: &DiskKey| Ok((disk.clone(), point.chain(disk)?));
    restored(plan).map(|(disk, _)| of_disk(disk)).collect()
}

type Chains = BTreeMap<DiskKey, StoredChain>;

fn restored(plan: &Plan) -> impl Iterator<Item = (&DiskKey, &VolumeId)> {
    plan.steps().filter_map(|step| match &step.action {
        Action::RestoreVolume { disk, volume } => Some((disk, volume)),
        _ => None,
    })
}
