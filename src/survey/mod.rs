//! Reads the world just before a guest's turn and says what is there, as facts. It changes
//! nothing: every command it issues is one that only reads.

mod backup;
mod restore;

pub use backup::{Surveyed, backup};
pub use restore::{Sought, SurveyedPoint, point, restore};

use crate::model::{GuestKind, Incarnation, VolumeIdentity};
use crate::pve::guest_config::GuestConfig;

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
