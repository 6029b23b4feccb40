//! Reads the world just before a guest's turn and says what is there, as facts. It changes
//! nothing: every command it issues is one that only reads.

mod adopt;
mod agent;
mod backup;
mod copy;
mod cover;
mod damage;
mod departed;
mod guests;
mod kept;
mod left;
mod legacy;
mod orphans;
mod place;
mod prune;
mod repair;
mod reset;
mod restore;
mod several;
mod snapshot;
mod sought;
mod source;

pub use adopt::{ADOPTED, OldChain, SurveyedAdoption, adopt};
pub use agent::{SurveyedAgent, agent};
pub use backup::{IdentifiedGuest, Surveyed, SurveyedGuest, backup, guest, identity};
pub use copy::{copy, twin};
pub use cover::{is_good, stored_points};
pub use damage::{damage, known_damage};
pub use guests::{SurveyedGuests, guests};
pub(crate) use left::is_referenced;
pub use legacy::{BarcPoint, Home, barc_histories, kind_of_config};
pub use orphans::orphans;
pub use place::place;
pub use prune::{leftovers, missing_disks, named_point, prune, stored, unread_guest};
pub use repair::repair;
pub use reset::{ChainOwner, NamedVolume, chain_owners, reset_volumes, volumes_of};
pub use restore::{SurveyedRestore, restore};
pub use snapshot::snapshot;
pub use sought::{NoPoint, Sought, SurveyedPoint, point, relative};
pub use source::{RestorePoint, restore_point};

use crate::model::{GuestKind, Incarnation, VolumeIdentity};
use crate::pve::GuestConfig;

/// What distinguishes this guest from an earlier one with its vmid. A VM carries an smbios uuid,
/// which stays through moves, rollbacks and restores under its own number; one without it is told
/// by the moment of its creation, which PVE notes in `meta`. A container is told by its root
/// volume. `root` is the identity of the guest's first volume.
pub fn incarnation(
    kind: GuestKind,
    config: &GuestConfig,
    root: Option<&VolumeIdentity>,
) -> Option<Incarnation> {
    let mark = match kind {
        GuestKind::Qemu => config
            .smbios_uuid()
            .map(|uuid| format!("smbios {}", uuid.to_ascii_lowercase()))
            .or_else(|| config.get("meta").map(|meta| format!("meta {meta}"))),
        GuestKind::Lxc => None,
    };
    let mark = mark.or_else(|| root.map(|identity| format!("volume {identity}")))?;
    let digest = blake3::hash(mark.as_bytes());
    let [a, b, c, d, ..] = *digest.as_bytes();
    Some(Incarnation(u32::from_be_bytes([a, b, c, d])))
}
