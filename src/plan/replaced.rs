//! What becomes of the guest that a restore with --force replaces: nothing of its volumes is
//! forgotten. Pure.

use super::placing::Placed;
use super::restore::{NoRestore, RestoreFacts};
use crate::model::{Guest, VolumeId};
use crate::pve_config::GuestConfig;

/// The guest that has the target's vmid now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PresentGuest {
    /// The guest.
    pub guest: Guest,
    /// Whether it runs.
    pub running: bool,
    /// PVE's lock on it.
    pub lock: Option<String>,
    /// Digest of its configuration.
    pub config_digest: String,
    /// The configuration itself, as it is when what an interrupted restore reserved is released.
    pub config: String,
    /// The volumes that its configuration names: now, in PVE's snapshots of it with their saved
    /// memory, and in pending changes.
    pub volumes: Vec<VolumeId>,
    /// The names of PVE's snapshots of it.
    pub snapshots: Vec<String>,
}

/// `unused0` to `unused255` (`PVE::QemuServer::Drive`, `PVE::LXC::Config`).
pub const MOST_UNUSED: usize = 256;

impl PresentGuest {
    /// The volumes that the configuration in its place has to keep as unused disks; `named` are those
    /// that it names by itself.
    pub fn unused(&self, named: &[VolumeId]) -> Vec<VolumeId> {
        let mut kept: Vec<VolumeId> = Vec::new();
        for volume in &self.volumes {
            if !named.contains(volume) && !kept.contains(volume) {
                kept.push(volume.clone());
            }
        }
        kept
    }
}

/// Keeps the volumes of a replaced configuration as unused disks, so that nothing is lost by it.
pub(super) fn with_unused(
    mut config: GuestConfig,
    present: Option<&PresentGuest>,
) -> Result<GuestConfig, NoRestore> {
    let Some(present) = present else { return Ok(config) };
    let named: Vec<VolumeId> = config.volumes().into_iter().filter_map(|v| v.volume).collect();
    for volume in present.unused(&named) {
        let mut keys = (0..MOST_UNUSED).map(|n| format!("unused{n}"));
        let free = keys.find(|key| config.get(key).is_none());
        let free = free.ok_or_else(|| {
            NoRestore::Config(format!("no key is free to keep {volume} as unused"))
        })?;
        config.set(&free, &volume.to_string());
    }
    Ok(config)
}

/// Refuses what could not keep all of the present guest's volumes.
///
/// # Errors
/// They are more than PVE has keys for.
pub(super) fn check(facts: &RestoreFacts, placed: &Placed) -> Result<(), NoRestore> {
    let Some(present) = &facts.present else { return Ok(()) };
    let named: Vec<VolumeId> = placed.iter().map(|(_, volume)| volume.clone()).collect();
    let count = present.unused(&named).len();
    if count > MOST_UNUSED {
        return Err(NoRestore::TooManyUnused(present.guest.vmid, count));
    }
    Ok(())
}

/// What is told of them.
pub(super) fn warnings(facts: &RestoreFacts) -> Vec<String> {
    let Some(present) = &facts.present else { return Vec::new() };
    let vmid = present.guest.vmid;
    let mut warnings = vec![format!("the present volumes of guest {vmid} stay as unused disks")];
    if !present.snapshots.is_empty() {
        let names = present.snapshots.join(", ");
        warnings.push(format!(
            "PVE's snapshots of guest {vmid} ({names}) go with its present configuration: their volumes and saved memory stay as unused disks, but PVE cannot roll back to them any more"
        ));
    }
    warnings
}
