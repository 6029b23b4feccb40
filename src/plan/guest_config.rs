//! Makes the configuration of a restored guest from the one that was saved. Pure: it neither reads
//! nor writes the cluster's files, and randomness is an argument.
//!
//! It follows what PVE's own restore does (`QemuServer::restore_update_config_line`,
//! `LXC::Create::sanitize_and_merge_config`), with one difference: a drive that was not in the
//! restore point is commented out for any reason, not only for `backup=0`, because a guest whose
//! configuration names a volume that is not there does not start. Such a comment becomes a line of
//! the guest's description, as in PVE. Firewall files are restored as they are.

use crate::model::{DiskKey, VolumeId, uuid_text};
use crate::pve_config::config_volume::ConfigVolume;
use crate::pve_config::datacenter_cfg::MacPrefix;
use crate::pve_config::guest_config::{Edit, GuestConfig, entry};
use crate::pve_config::property_string::PropertyString;
use std::collections::{BTreeMap, BTreeSet};

/// What is restored, and as whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Restoration {
    /// The new volume under each disk key that comes back.
    pub volumes: BTreeMap<DiskKey, RestoredVolume>,
    /// Whether the restored guest is the one that was saved.
    pub identity: Identity,
    /// The cloud-init drives that PVE makes anew, under the keys that name them.
    pub made_anew: BTreeMap<DiskKey, VolumeId>,
    /// How new network addresses begin.
    pub mac_prefix: MacPrefix,
}

/// Where a disk came back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RestoredVolume {
    /// The volume that holds it now.
    pub volume: VolumeId,
    /// Its size in bytes.
    pub size: u64,
}

/// Whether a restored guest goes on as the one that was saved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Identity {
    /// The same guest in its old place: network addresses and machine UUID stay.
    Kept,
    /// Another guest beside the old one: new network addresses and a new machine UUID, so that the
    /// two can run in one network.
    New,
}

/// Why a configuration could not be made. Nothing was written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RestoreConfigError {
    /// The random source gave fewer bytes than the new addresses and ids need.
    #[error("the random source ended before {key} had its new value")]
    OutOfRandom {
        /// The configuration key that was to be renewed.
        key: String,
    },
}

/// The configuration of the restored guest: its main section alone, with the volumes that came
/// back, without what belongs to the moment of the backup (lock, parent, saved memory) and with a
/// new `vmgenid`, which tells the guest's system that it was set back.
///
/// # Errors
/// `random` gave too few bytes (6 for each network card, 16 for each UUID).
pub fn restored_config(
    saved: &GuestConfig,
    restoration: &Restoration,
    random: &mut dyn Iterator<Item = u8>,
) -> Result<GuestConfig, RestoreConfigError> {
    let mut config = saved.clone();
    config.drop_other_sections();
    let drives = saved.volumes().into_iter().map(|v| (v.key.clone(), v)).collect();
    let mut failure = None;
    config.edit_main(|line| {
        let edit = edit_line(line, restoration, &drives, random);
        edit.unwrap_or_else(|error| {
            failure.get_or_insert(error);
            Edit::Keep
        })
    });
    match failure {
        Some(error) => Err(error),
        None => Ok(config),
    }
}

/// What a configuration is changed in, by lines that only one of the two has, in the order of their keys:
/// `- net0: ...`, `+ net0: ...`. PVE gives the order of lines no meaning.
pub fn changes(before: &str, after: &str) -> Vec<String> {
    let (old, new): (BTreeSet<&str>, BTreeSet<&str>) =
        (before.lines().collect(), after.lines().collect());
    let key = |line: &&str| line.split(':').next().unwrap_or_default().to_owned();
    let gone = old.difference(&new).map(|line| (key(line), '-', *line));
    let come = new.difference(&old).map(|line| (key(line), '+', *line));
    let mut changes: Vec<(String, char, &str)> = gone.chain(come).collect();
    changes.retain(|(_, _, line)| !line.trim().is_empty());
    changes.sort_by(|a, b| (&a.0, a.1 == '+').cmp(&(&b.0, b.1 == '+')));
    changes.into_iter().map(|(_, sign, line)| format!("{sign} {line}")).collect()
}

/// Keys that describe the moment of the backup and mean nothing afterwards.
const MOMENTARY: [&str; 9] = [
    "lock",
    "parent",
    "snaptime",
    "snapstate",
    "vmstate",
    "runningmachine",
    "runningcpu",
    "running-nets-host-mtu",
    "digest",
];

fn edit_line(
    line: &str,
    restoration: &Restoration,
    drives: &BTreeMap<DiskKey, ConfigVolume>,
    random: &mut dyn Iterator<Item = u8>,
) -> Result<Edit, RestoreConfigError> {
    if line.starts_with("#qmdump#") || line.starts_with("#vzdump#") {
        return Ok(Edit::Remove);
    }
    let Some((key, value)) = entry(line) else {
        return Ok(Edit::Keep);
    };
    if MOMENTARY.contains(&key) {
        return Ok(Edit::Remove);
    }
    // PVE reads the old key as the new one.
    let new_key = if key == "cdrom" { "ide2" } else { key };
    if let Ok(new_key) = new_key.parse::<DiskKey>() {
        return Ok(match drives.get(&new_key) {
            Some(drive) => edit_drive(new_key.as_str(), value, drive, restoration),
            // PVE has no such drive and drops the line: it would name another guest's volume.
            None => left_out(key, value),
        });
    }
    let renewed = renewed_value((key, value), restoration, random)?;
    Ok(renewed.map_or(Edit::Keep, |value| Edit::Replace(format!("{key}: {value}"))))
}

fn edit_drive(key: &str, value: &str, drive: &ConfigVolume, restoration: &Restoration) -> Edit {
    if let Some(restored) = restoration.volumes.get(&drive.key) {
        return Edit::Replace(format!("{key}: {}", mapped_drive(value, drive, restored)));
    }
    if drive.is_unused() {
        return Edit::Remove;
    }
    if let Some(volume) = restoration.made_anew.get(&drive.key) {
        let mut value = PropertyString::parse(value);
        value.set_volume(&volume.to_string());
        return Edit::Replace(format!("{key}: {value}"));
    }
    // A cd-rom or a bind mount was never ours to bring back, nor is a disk of the node; but two
    // guests that write to one disk destroy what is on it.
    let belongs_to_the_guest = drive.volume.is_some() && !drive.is_cdrom();
    let belongs_to_another = drive.is_node_disk() && restoration.identity == Identity::New;
    if belongs_to_the_guest || belongs_to_another {
        return left_out(key, value);
    }
    Edit::Keep
}

/// What stood there becomes a part of the description.
fn left_out(key: &str, value: &str) -> Edit {
    Edit::Replace(format!("#{}", description_text(&format!("{key}: {value}"))))
}

fn mapped_drive(value: &str, drive: &ConfigVolume, restored: &RestoredVolume) -> PropertyString {
    let mut value = PropertyString::parse(value);
    if drive.volume.as_ref() != Some(&restored.volume) {
        value.set_volume(&restored.volume.to_string());
        // The format belongs to the old storage; PVE finds the new one out itself.
        value.remove("format");
    }
    let stated = value.get("size").map(parse_size);
    let size_is_right = stated == Some(Some(restored.size));
    let never_stated = stated.is_none() && drive.is_cloudinit();
    if !size_is_right && !never_stated {
        value.set("size", &print_size(restored.size));
    }
    value
}

fn renewed_value(
    (key, value): (&str, &str),
    restoration: &Restoration,
    random: &mut dyn Iterator<Item = u8>,
) -> Result<Option<String>, RestoreConfigError> {
    let becomes_another = restoration.identity == Identity::New;
    let out_of_random = || RestoreConfigError::OutOfRandom { key: key.to_owned() };
    if key == "vmgenid" && value != "0" {
        return random_uuid(random).map(Some).ok_or_else(out_of_random);
    }
    if key == "smbios1" && becomes_another {
        let mut smbios = PropertyString::parse(value);
        smbios.set("uuid", &random_uuid(random).ok_or_else(out_of_random)?);
        return Ok(Some(smbios.to_string()));
    }
    if is_network_card(key) && becomes_another {
        let address = restoration.mac_prefix.address(random).ok_or_else(out_of_random)?;
        return Ok(Some(card_with_address(value, &address)));
    }
    Ok(None)
}

/// `netN`, as both kinds of guests have them.
fn is_network_card(key: &str) -> bool {
    key.strip_prefix("net")
        .is_some_and(|number| !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit()))
}

/// A machine's card is `<model>=<address>,...`, or `<model>,macaddr=<address>`, or a bare model
/// whose address PVE would make up; a container's is `name=...,hwaddr=<address>,...`.
fn card_with_address(value: &str, address: &str) -> String {
    let mut card = PropertyString::parse(value);
    let holds_address = |(_, value): &(&str, &str)| is_address(value);
    let key = card.options().find(holds_address).map(|(key, _)| key.to_owned());
    match (key, card.bare().map(str::to_owned)) {
        (Some(key), _) => card.set(&key, address),
        (None, Some(model)) => card.set_bare(&format!("{model}={address}")),
        (None, None) => card.set("hwaddr", address),
    }
    card.to_string()
}

fn is_address(text: &str) -> bool {
    let groups: Vec<&str> = text.split(':').collect();
    groups.len() == 6
        && groups.iter().all(|g| g.len() == 2 && g.bytes().all(|b| b.is_ascii_hexdigit()))
}

/// A random UUID (version 4, RFC 9562).
fn random_uuid(random: &mut dyn Iterator<Item = u8>) -> Option<String> {
    let mut bytes: [u8; 16] = take(random)?;
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    Some(uuid_text(bytes))
}

fn take<const N: usize>(random: &mut dyn Iterator<Item = u8>) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    for byte in &mut bytes {
        *byte = random.next()?;
    }
    Some(bytes)
}

/// Bytes in PVE's words: `32G`, `528K`, or a bare number (`JSONSchema::parse_size`).
pub fn parse_size(text: &str) -> Option<u64> {
    let number = text.trim_end_matches(['K', 'M', 'G', 'T']);
    let exponent = match &text[number.len()..] {
        "" => 0,
        "K" => 10,
        "M" => 20,
        "G" => 30,
        "T" => 40,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(1 << exponent)
}

/// The largest unit that needs no fraction, as `JSONSchema::format_size` prints it.
fn print_size(bytes: u64) -> String {
    let units = [(40, "T"), (30, "G"), (20, "M"), (10, "K")];
    let fits = |(exponent, _): &(u32, &str)| bytes > 0 && bytes % (1 << exponent) == 0;
    match units.into_iter().find(fits) {
        Some((exponent, unit)) => format!("{}{unit}", bytes >> exponent),
        None => bytes.to_string(),
    }
}

/// A line as PVE's decoder of descriptions gives it back: `%` and all but plain ASCII as `%xx`.
fn description_text(line: &str) -> String {
    let mut text = String::with_capacity(line.len());
    for byte in line.bytes() {
        match byte {
            b'%' | 0..=0x1f | 0x7f.. => text.push_str(&format!("%{byte:02X}")),
            _ => text.push(char::from(byte)),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn restoration(volumes: &[(&str, &str, u64)], identity: Identity) -> Restoration {
        let volumes = volumes.iter().map(|(key, volume, size)| {
            let volume = volume.parse().unwrap();
            (key.parse().unwrap(), RestoredVolume { volume, size: *size })
        });
        let (made_anew, mac_prefix) = (BTreeMap::new(), MacPrefix::default());
        Restoration { volumes: volumes.collect(), identity, made_anew, mac_prefix }
    }

    fn restored(saved: &str, volumes: &[(&str, &str, u64)], identity: Identity) -> String {
        let saved = GuestConfig::parse(saved);
        let mut random = (0..=255).cycle();
        restored_config(&saved, &restoration(volumes, identity), &mut random).unwrap().to_string()
    }

    const SAVED: &str = "\
#Web shop, owner%3A J%C3%BCrgen
agent: 1
boot: order=scsi0;ide2
efidisk0: ceph:vm-100-disk-0,efitype=4m,size=1M
ide2: local:iso/debian.iso,media=cdrom
lock: backup
name: web
net0: virtio=BC:24:11:AA:BB:CC,bridge=vmbr0,firewall=1,tag=7
net1: e1000,bridge=vmbr1
onboot: 1
parent: before
protection: 1
scsi0: ceph:vm-100-disk-1,discard=on,format=raw,size=32G
scsi1: ceph:vm-100-disk-2,backup=0,size=8G
scsi2: /dev/sdb,size=1G
smbios1: uuid=21a7e7bc-3cd2-4232-a009-a41f4ee992ae,base64=1
tags: prod
unused0: ceph:vm-100-disk-9
vmgenid: 7079e97c-50e3-4079-afe7-23e67566b946

[PENDING]
memory: 2048

[before]
scsi0: ceph:vm-100-disk-1,size=32G
snaptime: 1
";

    #[test]
    fn lines_that_pve_would_drop_name_no_volume_of_another_guest() {
        let saved =
            "cdrom: ceph:vm-100-disk-1\nscsi31: ceph:vm-100-disk-2\nmp01: ceph:vm-100-disk-3\n";
        let volumes = [("ide2", "ceph:vm-101-disk-0", 1 << 20)];
        assert_eq!(
            restored(saved, &volumes, Identity::New),
            "ide2: ceph:vm-101-disk-0,size=1M\n#scsi31: ceph:vm-100-disk-2\n#mp01: ceph:vm-100-disk-3\n"
        );
        assert_eq!(restored("cdrom: none\n", &[], Identity::New), "cdrom: none\n");
    }

    #[test]
    fn the_same_guest_gets_its_volumes_and_keeps_its_identity() {
        let volumes =
            [("efidisk0", "ceph:vm-100-disk-0", 1 << 20), ("scsi0", "ssd:vm-100-disk-3", 33 << 30)];
        assert_eq!(
            restored(SAVED, &volumes, Identity::Kept),
            "\
#Web shop, owner%3A J%C3%BCrgen
agent: 1
boot: order=scsi0;ide2
efidisk0: ceph:vm-100-disk-0,efitype=4m,size=1M
ide2: local:iso/debian.iso,media=cdrom
name: web
net0: virtio=BC:24:11:AA:BB:CC,bridge=vmbr0,firewall=1,tag=7
net1: e1000,bridge=vmbr1
onboot: 1
protection: 1
scsi0: ssd:vm-100-disk-3,discard=on,size=33G
#scsi1: ceph:vm-100-disk-2,backup=0,size=8G
scsi2: /dev/sdb,size=1G
smbios1: uuid=21a7e7bc-3cd2-4232-a009-a41f4ee992ae,base64=1
tags: prod
vmgenid: 00010203-0405-4607-8809-0a0b0c0d0e0f
"
        );
    }

    #[test]
    fn another_guest_gets_addresses_and_ids_of_its_own() {
        let text = restored(
            SAVED,
            &[
                ("efidisk0", "ceph:vm-101-disk-0", 1 << 20),
                ("scsi0", "ceph:vm-101-disk-1", 32 << 30),
            ],
            Identity::New,
        );
        for line in [
            "net0: virtio=BC:24:11:00:01:02,bridge=vmbr0,firewall=1,tag=7\n",
            "net1: e1000=BC:24:11:03:04:05,bridge=vmbr1\n",
            "smbios1: uuid=06070809-0a0b-4c0d-8e0f-101112131415,base64=1\n",
            "vmgenid: 16171819-1a1b-4c1d-9e1f-202122232425\n",
            "efidisk0: ceph:vm-101-disk-0,efitype=4m,size=1M\n",
        ] {
            assert!(text.contains(line), "{line}{text}");
        }
    }

    #[test]
    fn a_container_gets_addresses_and_loses_mount_points_that_were_not_saved() {
        let saved = "\
arch: amd64
hostname: ct
mp0: ceph:vm-200-disk-1,mp=/srv,backup=1,size=8G
mp1: ceph:vm-200-disk-2,mp=/var/cache%20x,size=8G
mp2: /mnt/media,mp=/media
net0: name=eth0,bridge=vmbr0,hwaddr=AA:BB:CC:DD:EE:FF,ip=dhcp
net1: name=eth1,bridge=vmbr0
rootfs: ceph:vm-200-disk-0,size=4096M
unprivileged: 1
lxc.apparmor.profile: generated
lxc.cgroup2.devices.allow = c 10:200 rwm
[pve:pending]
memory: 1
";
        let volumes =
            [("rootfs", "ceph:vm-201-disk-0", 4 << 30), ("mp0", "ceph:vm-201-disk-1", 8 << 30)];
        assert_eq!(
            restored(saved, &volumes, Identity::New),
            "\
arch: amd64
hostname: ct
mp0: ceph:vm-201-disk-1,mp=/srv,backup=1,size=8G
#mp1: ceph:vm-200-disk-2,mp=/var/cache%2520x,size=8G
mp2: /mnt/media,mp=/media
net0: name=eth0,bridge=vmbr0,hwaddr=BC:24:11:00:01:02,ip=dhcp
net1: name=eth1,bridge=vmbr0,hwaddr=BC:24:11:03:04:05
rootfs: ceph:vm-201-disk-0,size=4096M
unprivileged: 1
lxc.apparmor.profile: generated
lxc.cgroup2.devices.allow = c 10:200 rwm
"
        );
    }

    #[test]
    fn what_belongs_to_the_moment_of_the_backup_goes() {
        let saved = "#qmdump#map:scsi0:drive-scsi0:a:raw:\nlock: suspended\nname: a\n\
                     runningcpu: kvm64\nrunningmachine: pc\nvmstate: ceph:vm-100-state-suspend\n";
        assert_eq!(restored(saved, &[], Identity::Kept), "name: a\n");
    }

    #[test]
    fn a_vmgenid_that_is_switched_off_or_absent_stays_so() {
        assert_eq!(restored("vmgenid: 0\n", &[], Identity::New), "vmgenid: 0\n");
        assert_eq!(restored("name: a\n", &[], Identity::New), "name: a\n");
    }

    #[test]
    fn a_cloudinit_drive_without_a_size_gets_none() {
        let saved = "ide2: ceph:vm-1-cloudinit,media=cdrom\n";
        let volumes = [("ide2", "ceph:vm-101-cloudinit", 4 << 20)];
        assert_eq!(
            restored(saved, &volumes, Identity::Kept),
            "ide2: ceph:vm-101-cloudinit,media=cdrom\n"
        );
    }

    #[test]
    fn a_disk_of_the_node_is_never_kept_in_a_copy() {
        let saved =
            "mp0: /dev/sdc1,mp=/a\nmp1: /mnt/media,mp=/b\nscsi1: /dev/disk/by-id/x,size=1G\n";
        let copy =
            "#mp0: /dev/sdc1,mp=/a\nmp1: /mnt/media,mp=/b\n#scsi1: /dev/disk/by-id/x,size=1G\n";
        assert_eq!(restored(saved, &[], Identity::New), copy);
        assert_eq!(restored(saved, &[], Identity::Kept), saved);
    }

    #[test]
    fn a_cloudinit_drive_that_was_not_saved_stays_for_pve_to_make() {
        let saved = GuestConfig::parse("ide2: local:110/vm-110-cloudinit.qcow2,media=cdrom\n");
        let made = ("ide2".parse().unwrap(), "local:9110/vm-9110-cloudinit.qcow2".parse().unwrap());
        let mut wanted = restoration(&[], Identity::New);
        wanted.made_anew.extend([made]);
        let text = restored_config(&saved, &wanted, &mut (0..)).unwrap().to_string();
        assert_eq!(text, "ide2: local:9110/vm-9110-cloudinit.qcow2,media=cdrom\n");
        wanted.made_anew.clear();
        let text = restored_config(&saved, &wanted, &mut (0..)).unwrap().to_string();
        assert_eq!(text, "#ide2: local:110/vm-110-cloudinit.qcow2,media=cdrom\n");
    }

    #[test]
    fn new_addresses_begin_as_the_cluster_says() {
        let saved = GuestConfig::parse("net0: virtio=BC:24:11:AA:BB:CC,bridge=vmbr0\n");
        let mut wanted = restoration(&[], Identity::New);
        wanted.mac_prefix = MacPrefix::parse("mac_prefix: 02:AB:CD\n");
        let text = restored_config(&saved, &wanted, &mut (0..)).unwrap().to_string();
        assert_eq!(text, "net0: virtio=02:AB:CD:00:01:02,bridge=vmbr0\n");
    }

    #[test]
    fn too_little_randomness_is_an_error_and_no_weak_address() {
        let saved = GuestConfig::parse("net0: virtio=BC:24:11:AA:BB:CC\n");
        let error =
            restored_config(&saved, &restoration(&[], Identity::New), &mut [1, 2].into_iter());
        assert_eq!(error, Err(RestoreConfigError::OutOfRandom { key: "net0".into() }));
    }

    #[test]
    fn sizes_are_pves() {
        for (bytes, text) in
            [(32 << 30, "32G"), (540_672, "528K"), (1 << 42, "4T"), (0, "0"), (513, "513")]
        {
            assert_eq!(print_size(bytes), text);
            assert_eq!(parse_size(text), Some(bytes));
        }
        for text in ["", "G", "1P", "1KM", "99999999999999999999", "99999999999T"] {
            assert_eq!(parse_size(text), None, "{text}");
        }
    }

    #[test]
    fn only_network_cards_are_network_cards() {
        assert!(is_network_card("net0") && is_network_card("net31"));
        for key in ["net", "netin0", "numa0", "nets-1"] {
            assert!(!is_network_card(key), "{key}");
        }
    }
}
