//! Guest configurations and storage.cfg: every file goes through the parsers and comes back byte by
//! byte, and what we read from each stands in a golden file beside it. Not for writing files.
//!
//! `UPDATE_GOLDEN=1 cargo test --test config` writes the golden files again: read the diff.

// A helper of a test may fail as loudly as the test itself.
#![allow(clippy::unwrap_used)]

use proptest::prelude::*;
use pve_ferry::model::{DiskKey, VolumeId};
use pve_ferry::plan::guest_config::{Identity, Restoration, RestoredVolume, restored_config};
use pve_ferry::pve::section_config::SectionConfig;
use pve_ferry::pve::{ConfigVolume, GuestConfig, Inclusion, PropertyString, StorageCfg};
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

fn own(directory: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(directory)
}

/// All files below a directory with this extension, in their order.
fn files_below(directory: &Path, extension: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files_below(&path, extension));
        } else if path.extension().is_some_and(|e| e == extension) {
            found.push(path);
        }
    }
    found.sort();
    found
}

fn assert_golden(path: &Path, text: &str) {
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(path, text).unwrap();
    }
    let expected = fs::read_to_string(path).unwrap_or_default();
    assert_eq!(text, expected, "{} says something else", path.display());
}

/// Everything that we read from a configuration, as text.
fn reading(config: &GuestConfig) -> String {
    let mut lines = vec![
        format!("name {:?}", config.name()),
        format!("lock {:?}", config.lock()),
        format!("tags {:?}", config.tags()),
        format!("template {}", config.is_template()),
        format!("agent {} freeze {}", config.agent_enabled(), config.freeze_enabled()),
        format!("uuid {:?}", config.smbios_uuid()),
        format!("vmgenid {:?}", config.vmgenid()),
    ];
    lines.extend(config.volumes().iter().map(volume_line));
    lines.join("\n") + "\n"
}

fn volume_line(volume: &ConfigVolume) -> String {
    let id = volume.volume.as_ref().map_or("-".to_owned(), VolumeId::to_string);
    match &volume.inclusion {
        Inclusion::Included => format!("{} {id} included", volume.key),
        Inclusion::Excluded(reason) => format!("{} {id} excluded: {reason}", volume.key),
    }
}

/// Brings every included volume back as one of guest 999, 4 GiB large; a cloud-init drive is known
/// by its name, so it must have one.
fn elsewhere(config: &GuestConfig) -> Restoration {
    // A disk of the node itself is in no point.
    let on_storages = |v: &ConfigVolume| v.is_included() && v.volume.is_some();
    let included = config.volumes().into_iter().filter(on_storages).enumerate();
    let volumes = included.map(|(n, volume)| -> (DiskKey, RestoredVolume) {
        let (name, size) = match volume.is_cloudinit() {
            true => ("new:vm-999-cloudinit".to_owned(), 4 << 20),
            false => (format!("new:vm-999-disk-{n}"), 4 << 30),
        };
        (volume.key, RestoredVolume { volume: name.parse().unwrap(), size })
    });
    Restoration {
        volumes: volumes.collect(),
        identity: Identity::New,
        made_anew: Default::default(),
        mac_prefix: Default::default(),
    }
}

#[test]
fn every_own_guest_configuration_round_trips_and_reads_as_its_golden_file_says() {
    let files = files_below(&own("guest-config"), "conf");
    assert!(files.len() >= 14, "the fixtures are gone: {files:?}");
    for path in files {
        let text = fs::read_to_string(&path).unwrap();
        let config = GuestConfig::parse(&text);
        assert_eq!(config.to_string(), text, "{}", path.display());
        assert_golden(&path.with_extension("reading"), &reading(&config));
    }
}

#[test]
fn every_own_guest_configuration_is_restored_as_its_golden_file_says() {
    for path in files_below(&own("guest-config"), "conf") {
        let config = GuestConfig::parse(&fs::read_to_string(&path).unwrap());
        let mut random = 0..=255;
        let restored = restored_config(&config, &elsewhere(&config), &mut random).unwrap();
        assert_golden(&path.with_extension("restored"), &restored.to_string());
        assert_eq!(restored.lock(), None, "{}", path.display());
        assert_eq!(
            restored.volumes().iter().filter(|v| v.is_cloudinit()).count(),
            config.volumes().iter().filter(|v| v.is_cloudinit()).count(),
            "{}",
            path.display()
        );
        let foreign = restored.volumes().into_iter().filter(ConfigVolume::is_included);
        for volume in foreign.filter_map(|v| v.volume) {
            assert_eq!(volume.storage, "new", "{} keeps a volume of the old guest", path.display());
        }
    }
}

/// Speaks past the test harness, which swallows what a test that passes prints.
fn tell(text: &str) {
    std::io::stderr().write_all(format!("{text}\n").as_bytes()).unwrap();
}

#[test]
fn every_guest_configuration_of_the_shared_collection_round_trips() {
    let shared = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data/guest-config");
    if !shared.is_dir() {
        tell(&format!("SKIPPED: {} is not there, nothing of it was tested", shared.display()));
        return;
    }
    let files = files_below(&shared, "conf");
    assert!(!files.is_empty(), "{} is empty", shared.display());
    for path in &files {
        let text = fs::read_to_string(path).unwrap();
        let config = GuestConfig::parse(&text);
        assert_eq!(config.to_string(), text, "{}", path.display());
        let again = restored_config(&config, &elsewhere(&config), &mut (0..=255).cycle()).unwrap();
        assert_eq!(GuestConfig::parse(&again.to_string()), again, "{}", path.display());
    }
    tell(&format!("{} configurations of {} round-trip", files.len(), shared.display()));
}

#[test]
fn every_storage_cfg_round_trips_and_reads_as_its_golden_file_says() {
    let files = files_below(&own("storage-cfg"), "cfg");
    assert!(files.len() >= 2, "the fixtures are gone");
    for path in files {
        let text = fs::read_to_string(&path).unwrap();
        let config = StorageCfg::parse(&text);
        assert_eq!(config.to_string(), text, "{}", path.display());
        let storages = config.storages().iter();
        let lines: Vec<String> = storages
            .map(|section| match config.rbd(&section.id) {
                Some(rbd) => format!("{rbd:?}\n"),
                None => format!("{section:?}\n"),
            })
            .collect();
        assert_golden(&path.with_extension("reading"), &lines.concat());
    }
}

/// Lines as configurations have them, and lines as they should never have them.
fn config_text() -> impl Strategy<Value = String> {
    let line = prop_oneof![
        "(scsi|ide|net|mp|unused|efidisk)[0-9]{1,2}: [a-z0-9:,=/.-]{0,20}",
        "(name|lock|agent|smbios1|vmgenid|rootfs|tags|parent): ?[a-zA-Z0-9=,;-]{0,12}",
        "\\[[a-zA-Z:]{0,8}\\]",
        "#\\PC{0,12}",
        "\\PC{0,16}",
    ];
    let end = prop_oneof![Just("\n"), Just("\r\n"), Just("\n\n"), Just(" \n")];
    let lines = proptest::collection::vec((line, end), 0..12);
    (lines, "[a-z: ]{0,6}").prop_map(|(lines, rest)| {
        lines.into_iter().map(|(line, end)| line + end).collect::<String>() + &rest
    })
}

proptest! {
    #[test]
    fn arbitrary_text_round_trips(text in prop_oneof![config_text(), any::<String>()]) {
        prop_assert_eq!(GuestConfig::parse(&text).to_string(), text.clone());
        prop_assert_eq!(SectionConfig::parse(&text).to_string(), text.clone());
        prop_assert_eq!(PropertyString::parse(&text).to_string(), text);
    }

    #[test]
    fn a_key_that_is_set_is_read_back_and_nothing_else_changes(text in config_text()) {
        let before = GuestConfig::parse(&text);
        let mut after = before.clone();
        after.set("lock", "backup");
        prop_assert_eq!(after.lock(), Some("backup"));
        prop_assert_eq!(&GuestConfig::parse(&after.to_string()), &after);
        let others = |config: &GuestConfig| -> Vec<(String, String)> {
            let entries = config.entries().filter(|(key, _)| *key != "lock");
            entries.map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
        };
        prop_assert_eq!(others(&after), others(&before));
        after.remove("lock");
        prop_assert_eq!(after.lock(), None);
        prop_assert_eq!(others(&after), others(&before));
    }

    #[test]
    fn a_restored_configuration_never_names_the_old_guests_volumes(text in config_text()) {
        let saved = GuestConfig::parse(&text);
        let nothing = Restoration { volumes: Default::default(), identity: Identity::Kept, made_anew: Default::default(), mac_prefix: Default::default() };
        let restored = restored_config(&saved, &nothing, &mut (0..=255).cycle()).unwrap();
        let held = restored.volumes().into_iter().find(|v| v.volume.is_some() && !v.is_cdrom());
        prop_assert_eq!(held, None);
        prop_assert_eq!(restored.lock(), None);
        prop_assert_eq!(restored.get("parent"), None);
        prop_assert_eq!(&GuestConfig::parse(&restored.to_string()), &restored);
    }
}
