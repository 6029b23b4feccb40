//! Where a container's restore points belong when its root volume is another one than it was: after a
//! restore in its old place, or after the volume was moved to another storage. Not for machines: their
//! uuid stays.

use super::{IdentifiedGuest, incarnation};
use crate::context::Context;
use crate::model::{GuestKind, Incarnation, Moment};
use crate::pve::{GuestConfig, PropertyString};
use crate::repository::{GuestDir, GuestKey, Repository, StoredPoint};
use std::collections::BTreeSet;

/// The key under which the guest's directory is found: its own, or for a container without a
/// directory of its own the one of the same vmid whose newest point was made of the same root volume,
/// or bears the same network addresses. PVE makes those up at random, and they stay through restores
/// and moves; a container that is made again gets others.
///
/// # Errors
/// The repository or the guest's configuration cannot be read.
pub async fn place(
    ctx: &Context,
    repository: &Repository,
    known: &IdentifiedGuest,
    key: GuestKey,
) -> anyhow::Result<GuestKey> {
    if known.guest.kind != GuestKind::Lxc || repository.guest(&key).exists()? {
        return Ok(key);
    }
    let config = GuestConfig::parse(&ctx.home()?.config(&known.guest).await?);
    let mut found: Option<(Moment, Incarnation)> = None;
    for directory in repository.guests()? {
        let (names, own) = (directory.names(), key.names());
        let is_candidate = names.vmid == own.vmid && names.cluster_dir() == own.cluster_dir();
        if !is_candidate {
            continue;
        }
        let history = directory.load()?;
        let Some(newest) = history.visible().max_by_key(|point| point.manifest.time) else {
            continue;
        };
        let is_newer = found.is_none_or(|(time, _)| newest.manifest.time > time);
        if is_newer && is_same_container(known, &config, (&directory, newest)) {
            found = Some((newest.manifest.time, names.incarnation));
        }
    }
    let incarnation = found.map_or(key.incarnation, |(_, incarnation)| incarnation);
    Ok(GuestKey { incarnation, ..key })
}

fn is_same_container(
    known: &IdentifiedGuest,
    config: &GuestConfig,
    (directory, newest): (&GuestDir, &StoredPoint),
) -> bool {
    if newest.manifest.kind != GuestKind::Lxc {
        return false;
    }
    let root = newest.manifest.images.iter().find(|image| image.disk.as_str() == "rootfs");
    let saved_as = |volume| incarnation(GuestKind::Lxc, config, Some(volume));
    if root.and_then(|root| saved_as(&root.source.volume)) == Some(known.incarnation) {
        return true;
    }
    let Ok(saved) = directory.saved_config(newest) else { return false };
    let (now, then) = (addresses(config), addresses(&GuestConfig::parse(&saved)));
    !now.is_empty() && now == then
}

fn addresses(config: &GuestConfig) -> BTreeSet<String> {
    let cards = config.entries().filter(|(key, _)| {
        let number = key.strip_prefix("net").unwrap_or_default();
        !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit())
    });
    let address = |(_, value)| PropertyString::parse(value).get("hwaddr").map(str::to_uppercase);
    cards.filter_map(address).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_network_cards_of_the_present_have_addresses() {
        let config = GuestConfig::parse(
            "net0: name=eth0,hwaddr=bc:24:11:00:00:01\nnet1: name=eth1\nnetwork: x\n\
             [snap]\nnet2: name=eth2,hwaddr=BC:24:11:00:00:02\n",
        );
        assert_eq!(addresses(&config), BTreeSet::from(["BC:24:11:00:00:01".to_owned()]));
    }
}
