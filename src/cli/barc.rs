//! How `list` shows what eve4pve-barc wrote: rows of the kind `barc`. Reads nothing itself.

use super::document::{BarcImage, BarcImageKind, BarcPoint, BarcWord};
use super::table::{Align, render};
use crate::model::{Age, Bytes, Moment, VmId, counted};
use crate::repository::legacy::{LegacyFormat, LegacyHistory, LegacyImage, LegacyPoint};
use crate::survey::kind_of_config;
use std::fmt::Write as _;

/// The directories of these guests and this label; of all when nothing is said.
pub fn selected(
    histories: Vec<LegacyHistory>,
    vmids: &[VmId],
    label: Option<&str>,
) -> Vec<LegacyHistory> {
    let is_meant = |history: &LegacyHistory| {
        let directory = &history.directory;
        (vmids.is_empty() || vmids.contains(&directory.vmid))
            && label.is_none_or(|label| label == directory.label)
    };
    histories.into_iter().filter(is_meant).collect()
}

/// The directories as text, a line per point or, with `each`, per file.
pub fn text(histories: &[LegacyHistory], each: Rows, now: Moment) -> String {
    let mut text = String::new();
    for history in histories {
        let images = || history.points.iter().flat_map(|point| &point.images);
        let stored = Bytes(images().map(|image| image.link.stored_bytes).sum());
        let (vmid, count) = (history.directory.vmid, history.points.len());
        let name = history.points.last().map(name_of).unwrap_or_default();
        // Writing to a string does not fail.
        let _ = writeln!(
            text,
            "guest {vmid} {name}  {}, {stored}  ({})",
            counted(count, "point"),
            history.directory.name()
        );
        text.push_str(&match each {
            Rows::Points => points(history, now),
            Rows::Images => files(history),
        });
        for leftover in &history.leftovers {
            let _ = writeln!(text, "  left by an interrupted merge of eve4pve-barc: {leftover}");
        }
        text.push('\n');
    }
    text
}

/// What a line stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rows {
    /// A restore point.
    Points,
    /// A data file.
    Images,
}

/// The guest's name then; may be empty.
pub fn name_of(point: &LegacyPoint) -> String {
    let config = crate::pve::GuestConfig::parse(point.config.as_deref().unwrap_or_default());
    config.name().unwrap_or_default().to_owned()
}

fn kind_of(image: &LegacyImage) -> &'static str {
    match &image.format {
        Err(_) => "damaged",
        Ok(_) if image.is_increment() => "increment",
        Ok(_) => "base",
    }
}

fn size(bytes: Option<u64>) -> String {
    bytes.map_or_else(|| "?".to_owned(), |bytes| Bytes(bytes).to_string())
}

fn points(history: &LegacyHistory, now: Moment) -> String {
    let headings = [
        ("  LABEL", Align::Left),
        ("TIME", Align::Left),
        ("AGE", Align::Right),
        ("STAMP", Align::Left),
        ("KIND", Align::Left),
        ("DISKS", Align::Left),
        ("SIZE", Align::Right),
        ("STORED", Align::Right),
    ];
    let row = |point: &LegacyPoint| {
        let total = point.images.iter().map(|image| image.size).sum::<Option<u64>>();
        let stored = point.images.iter().map(|image| image.link.stored_bytes).sum();
        let disks: Vec<String> = point.images.iter().map(LegacyImage::name).collect();
        vec![
            format!("  {}", history.directory.label),
            point.time.to_string(),
            Age::of(point.time, now).to_string(),
            point.stamp.clone(),
            kind_of_point(point),
            disks.join(" "),
            size(total),
            Bytes(stored).to_string(),
        ]
    };
    render(&headings, &history.points.iter().map(row).collect::<Vec<_>>())
}

/// What a point is made of.
pub fn kind_of_point(point: &LegacyPoint) -> String {
    let mut kinds: Vec<&str> = point.images.iter().map(kind_of).collect();
    kinds.sort_unstable();
    kinds.dedup();
    let kinds = if kinds.is_empty() { "no images".to_owned() } else { kinds.join(" + ") };
    let config = if point.config.is_none() { ", no config" } else { "" };
    format!("barc {kinds}{config}")
}

fn files(history: &LegacyHistory) -> String {
    let headings = [
        ("  LABEL", Align::Left),
        ("TIME", Align::Left),
        ("DISK", Align::Left),
        ("KIND", Align::Left),
        ("SIZE", Align::Right),
        ("STORED", Align::Right),
        ("SUMS", Align::Left),
        ("VOLUME", Align::Left),
        ("FILE", Align::Left),
    ];
    let row = |point: &LegacyPoint, image: &LegacyImage| {
        vec![
            format!("  {}", history.directory.label),
            point.time.to_string(),
            image.name(),
            format!("barc {}", kind_of(image)),
            size(image.size),
            Bytes(image.link.stored_bytes).to_string(),
            if image.sums.is_empty() { "-".to_owned() } else { image.sums.join(",") },
            image.volume.as_ref().map_or_else(|| "-".to_owned(), ToString::to_string),
            file_name(image),
        ]
    };
    let of_point =
        |point: &LegacyPoint| point.images.iter().map(|i| row(point, i)).collect::<Vec<_>>();
    render(&headings, &history.points.iter().flat_map(of_point).collect::<Vec<_>>())
}

fn file_name(image: &LegacyImage) -> String {
    let name = image.link.path.file_name();
    name.map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

/// The points for JSON, beside our own: `format` tells them apart.
pub fn documents(histories: &[LegacyHistory]) -> Vec<BarcPoint> {
    let of_history = |history: &LegacyHistory| {
        history.points.iter().map(|point| point_document(history, point)).collect::<Vec<_>>()
    };
    histories.iter().flat_map(of_history).collect()
}

fn point_document(history: &LegacyHistory, point: &LegacyPoint) -> BarcPoint {
    BarcPoint {
        format: BarcWord::Barc,
        stamp: point.stamp.clone(),
        vmid: history.directory.vmid,
        kind: point.config.as_deref().map(kind_of_config),
        name: name_of(point),
        label: history.directory.label.clone(),
        time: point.time,
        path: history.directory.path.clone(),
        images: point.images.iter().map(image_document).collect(),
    }
}

fn image_document(image: &LegacyImage) -> BarcImage {
    let header = match &image.format {
        Ok(LegacyFormat::Stream(header)) => Some(header),
        _ => None,
    };
    BarcImage {
        disk: image.key.clone(),
        name: image.disk.clone(),
        volume: image.volume.clone(),
        kind: match &image.format {
            Err(_) => BarcImageKind::Damaged,
            Ok(_) if image.is_increment() => BarcImageKind::Increment,
            Ok(_) => BarcImageKind::Base,
        },
        size: image.size,
        stored_bytes: image.link.stored_bytes,
        sums: image.sums.iter().map(|sum| (*sum).to_owned()).collect(),
        from: header.and_then(|header| header.from.clone()),
        damage: image.format.as_ref().err().cloned(),
        file: file_name(image),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stream::{Header, StreamWriter};
    use crate::survey::{Home, barc_histories};
    use std::fs;

    /// Two guests of the old tool: one with a chain, a full misnamed as a diff, a broken file, a
    /// point without images, and what a merge left; a container without configuration.
    fn home() -> tempfile::TempDir {
        let home = tempfile::tempdir().unwrap();
        let daily = home.path().join("barc/100/daily");
        let other = home.path().join("barc/105/Weekly full");
        fs::create_dir_all(&daily).unwrap();
        fs::create_dir_all(&other).unwrap();
        let put = |name: &str, bytes: &[u8]| fs::write(daily.join(name), bytes).unwrap();
        let config = "name: web\nscsi0: ceph:vm-100-disk-0,size=64K\nscsi1: ssd:vm-100-disk-1\n";
        let diff = |from: &str, to: &str| {
            let (from, to) = (Some(from.to_owned()), Some(to.to_owned()));
            let header = Header { from, to, size: 131_072 };
            let mut writer = StreamWriter::new(Vec::new(), &header).unwrap();
            writer.write(7, b"seven").unwrap();
            writer.finish().unwrap()
        };
        put("190101120000rbd.vm-100-disk-0.img", &[1; 65_536]);
        put("190101120000rbd.vm-100-disk-0.img.sha1", b"x");
        put("190101120000rbd.vm-100-disk-0.img.md5", b"x");
        put("1901011200002tb.vm-100-disk-1.diff", &[2; 32_768]);
        put("190101120000.conf", config.as_bytes());
        let increment = diff("barcdaily190101120000", "barcdaily20200102120000");
        put("20200102120000rbd.vm-100-disk-0.diff.zz", &increment);
        put("202001021200002tb.vm-100-disk-1.diff", b"rbd diff");
        put("20200102120000.conf", config.as_bytes());
        put("20200103120000.conf", config.as_bytes());
        put("20200102120000rbd.vm-100-disk-0.diff-merged", b"x");
        put("notes.txt", b"x");
        fs::write(other.join("20200101000000my.pool.ns.vm-105-disk-1.img"), [3; 512]).unwrap();
        home
    }

    #[test]
    fn the_list_is_golden() {
        let home = home();
        let histories = || barc_histories(home.path(), &Home::default()).unwrap();
        let now = "2020-01-05T00:00:00Z".parse().unwrap();
        let mut found = text(&histories(), Rows::Points, now);
        found.push_str(&text(&histories(), Rows::Images, now));
        let documents = serde_json::to_string_pretty(&documents(&histories())).unwrap();
        found.push_str(&documents.replace(home.path().to_str().unwrap(), "HOME"));
        found.push('\n');
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/barc-list.txt");
        if std::env::var_os("UPDATE").is_some() {
            fs::write(path, &found).unwrap();
        }
        assert_eq!(found, fs::read_to_string(path).unwrap(), "UPDATE=1 writes it anew");
    }

    #[test]
    fn guests_and_labels_are_chosen() {
        let home = home();
        let count = |vmids: &[&str], label: Option<&str>| {
            let vmids: Vec<VmId> = vmids.iter().map(|vmid| vmid.parse().unwrap()).collect();
            let histories = barc_histories(home.path(), &Home::default()).unwrap();
            selected(histories, &vmids, label).len()
        };
        assert_eq!(count(&[], None), 2);
        assert_eq!(count(&["105"], None), 1);
        assert_eq!(count(&["105"], Some("daily")), 0);
        assert_eq!(count(&[], Some("Weekly full")), 1);
    }
}
