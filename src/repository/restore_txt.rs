//! Renders RESTORE.txt: how to get a guest back with stock tools only. Not for restoring: nothing
//! here is run by us.
//!
//! Lines that begin with four spaces are commands, complete, for a shell in the guest's directory;
//! each section can be run alone. The Python program stands between its two cut marks.

use super::chain::{HeldImage, images_of_chain};
use super::history::{History, StoredPoint};
use super::image::Codec;
use super::layout;
use super::manifest::ImageEntry;
use crate::model::{GuestKind, VolumeIdentity, VolumeShape};
use std::fmt::Write;
use std::path::Path;

/// The program that applies images to a raw file.
const PROGRAM: &str = include_str!("restore.py");
const CUT_BEGIN: &str = "----8<---- restore.py";
const CUT_END: &str = "---->8----";

/// The features that `rbd create --image-feature` accepts (rbd help create, Ceph 16; striping
/// follows from the stripe options).
const FEATURES: [&str; 6] =
    ["layering", "exclusive-lock", "object-map", "fast-diff", "deep-flatten", "journaling"];

/// The text for a guest's directory: commands for its newest restore point.
pub(crate) fn render(history: &History, guest_dir: &Path) -> String {
    let mut text = introduction(history);
    match history.visible().next_back() {
        None => text.push_str("There is no restore point here.\n\n"),
        Some(point) => {
            let page = Page { history, point, guest_dir };
            page.with_ceph(&mut text);
            page.without_ceph(&mut text);
            page.configuration(&mut text);
        }
    }
    text.push_str("The program\n-----------\n\n");
    for part in [CUT_BEGIN, "\n", PROGRAM, CUT_END, "\n"] {
        text.push_str(part);
    }
    text
}

fn introduction(history: &History) -> String {
    let guest = history.record.as_ref().map_or_else(
        || "this guest".to_owned(),
        |record| {
            let name: String = record.name.chars().filter(|c| !c.is_control()).collect();
            let kind = match record.kind {
                GuestKind::Qemu => "virtual machine",
                GuestKind::Lxc => "container",
            };
            format!("{kind} {} {name}", record.guest.vmid)
        },
    );
    let guest = guest.trim_end();
    format!(
        "How to get {guest} back without pve-ferry\n\n\
         The indented lines are commands for a shell, to be run in this directory, in order; stop\n\
         when one fails. They are written for the newest restore point. To take another one, let\n\
         the program below list the points and the files that hold a disk, and use those instead.\n\
         Each disk is one base file and the increments after it; each increment must follow the\n\
         one that it was made on. A compressed file is an ordinary .zst, .gz or .bz2 file.\n\n"
    )
}

/// One point's commands.
struct Page<'a> {
    history: &'a History,
    point: &'a StoredPoint,
    guest_dir: &'a Path,
}

impl Page<'_> {
    fn with_ceph(&self, text: &mut String) {
        text.push_str(
            "With Ceph\n---------\n\n\
             Set the pools; a name must not exist yet in its pool. The last command for each disk\n\
             removes the snapshots that the import made.\n\n",
        );
        let pools = self.pools();
        for (n, pool) in pools.iter().enumerate() {
            let _ = writeln!(text, "    {}={pool}", variable(n));
        }
        for image in &self.point.manifest.images {
            let n = pools.iter().position(|pool| *pool == pool_of(image)).unwrap_or(0);
            let target = format!("\"${}/{}\"", variable(n), self.volume_name(image));
            self.disk_with_ceph(text, image, &target);
        }
        text.push('\n');
    }

    fn disk_with_ceph(&self, text: &mut String, image: &ImageEntry, target: &str) {
        let chain = match images_of_chain(self.history, self.point, &image.disk) {
            Ok(chain) => chain,
            Err(broken) => {
                let _ = writeln!(text, "\n{} cannot be restored: {broken}.\n", image.disk);
                return;
            }
        };
        let size = chain.first().map_or(image.size, |base| base.image.size);
        let _ = writeln!(text, "    rbd create --size {size}B{} {target}", shape(&image.shape));
        for held in chain {
            let (reader, file) = (reader(&held), self.relative(&held.path()));
            let _ =
                writeln!(text, "    {reader} {file} | rbd import-diff --no-progress - {target}");
        }
        let _ = writeln!(text, "    rbd snap purge --no-progress {target}");
    }

    fn without_ceph(&self, text: &mut String) {
        text.push_str(
            "Without Ceph\n------------\n\n\
             This needs Python 3 and the program that decompresses. It writes one sparse raw file\n\
             per disk, which qemu-img, dd, losetup and others read. Set where they go.\n\n    OUT=.\n",
        );
        let _ = writeln!(
            text,
            "    sed -n '/^{CUT_BEGIN}$/,/^{CUT_END}$/p' {} | sed '1d;$d' > \"$OUT/restore.py\"",
            layout::RESTORE
        );
        let point = self.relative(&self.point.dir);
        for image in &self.point.manifest.images {
            let disk = &image.disk;
            let _ = writeln!(
                text,
                "    python3 \"$OUT/restore.py\" {point} {disk} \"$OUT/{disk}.raw\""
            );
        }
        text.push('\n');
    }

    fn configuration(&self, text: &mut String) {
        text.push_str(
            "Configuration\n-------------\n\n\
             On a node of the cluster, once the disks are there. The guest must not exist. If the\n\
             disks went elsewhere, change storage and name of each in the file; remove the parts\n\
             that begin with a name in brackets: they tell of snapshots that are not restored.\n\n    \
             ETC_PVE=/etc/pve\n",
        );
        let vmid = self.point.manifest.guest.vmid;
        let directory = match self.point.manifest.kind {
            GuestKind::Qemu => "qemu-server",
            GuestKind::Lxc => "lxc",
        };
        let manifest = &self.point.manifest;
        if manifest.config_digest.is_some() {
            let from = self.relative(&self.point.dir.join(layout::CONFIG));
            let to = format!("$ETC_PVE/{directory}/{vmid}.conf");
            let _ = writeln!(text, "    (set -C; cat {from} > \"{to}\")");
        }
        if manifest.firewall_digest.is_some() {
            let from = self.relative(&self.point.dir.join(layout::FIREWALL));
            let _ = writeln!(text, "    (set -C; cat {from} > \"$ETC_PVE/firewall/{vmid}.fw\")");
        }
        text.push('\n');
    }

    /// The pools that the disks came from, each once.
    fn pools(&self) -> Vec<String> {
        let mut pools: Vec<String> = Vec::new();
        for pool in self.point.manifest.images.iter().map(pool_of) {
            if !pools.contains(&pool) {
                pools.push(pool);
            }
        }
        pools
    }

    /// What the volume is to be called. The text is for a root shell, so that only names of
    /// harmless characters get into it.
    fn volume_name(&self, image: &ImageEntry) -> String {
        let name = image.volume.own_name();
        if harmless(name) {
            return name.to_owned();
        }
        format!("vm-{}-{}", self.point.manifest.guest.vmid, image.disk)
    }

    /// The path within the guest's directory: labels, stamps and checked file names, nothing else.
    fn relative(&self, path: &Path) -> String {
        path.strip_prefix(self.guest_dir).unwrap_or(path).display().to_string()
    }
}

fn variable(n: usize) -> String {
    if n == 0 { "POOL".to_owned() } else { format!("POOL{}", n + 1) }
}

fn pool_of(image: &ImageEntry) -> String {
    match &image.source.volume {
        VolumeIdentity::Rbd { pool, namespace, .. } if harmless(pool) => {
            if harmless(namespace) {
                format!("{pool}/{namespace}")
            } else {
                pool.clone()
            }
        }
        _ => "rbd".to_owned(),
    }
}

fn harmless(name: &str) -> bool {
    let fits = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    !name.is_empty() && !name.starts_with('-') && name.bytes().all(fits)
}

/// The command that writes an image's stream to its standard output.
fn reader(held: &HeldImage<'_>) -> &'static str {
    match held.image.compression.codec() {
        Codec::None => "cat",
        Codec::Zstd => "zstd -dc",
        Codec::Gzip => "gzip -dc",
        Codec::Bzip2 => "bzip2 -dc",
    }
}

/// The options of `rbd create` that make the volume as it was.
fn shape(shape: &VolumeShape) -> String {
    let mut options = String::new();
    if let Some(bytes) = shape.object_size {
        let _ = write!(options, " --object-size {bytes}B");
    }
    if let Some((unit, count)) = shape.striping {
        let _ = write!(options, " --stripe-unit {unit}B --stripe-count {count}");
    }
    if let Some(pool) = shape.data_pool.as_deref().filter(|pool| harmless(pool)) {
        let _ = write!(options, " --data-pool {pool}");
    }
    let known = |feature: &&str| FEATURES.contains(feature);
    let features: Vec<&str> = shape.features.iter().map(String::as_str).filter(known).collect();
    if !features.is_empty() {
        let _ = write!(options, " --image-feature {}", features.join(","));
    }
    options
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::VolumeShape;
    use crate::repository::fixture::{World, image, make_point, noon, record};
    use crate::repository::{Disk, ImageEntry};

    #[test]
    fn nothing_that_a_name_holds_becomes_a_command_of_the_root_shell() {
        let world = World::new();
        let shape = VolumeShape {
            data_pool: Some("x; reboot".into()),
            features: vec!["layering".into(), "a`id`".into()],
            ..VolumeShape::default()
        };
        let mut entry =
            ImageEntry { volume: "c:vm$(id)".parse().unwrap(), shape, ..image(1, None) };
        entry.source.volume = VolumeIdentity::Rbd {
            fsid: "f".into(),
            pool: "p|q".into(),
            namespace: "n&".into(),
            image: "1".into(),
        };
        make_point(&world.guest(), entry, noon()).unwrap();
        let lock = world.lock();
        let mut named = record();
        named.name = "web\n    reboot".into();
        world.guest().save_record(&lock, &named).unwrap();
        world.guest().refresh_derived(&lock).unwrap();
        let path = world.guest().path().join(layout::RESTORE);
        let text = String::from_utf8(Disk::real().read(&path).unwrap()).unwrap();
        let (text, _) = text.split_once(CUT_BEGIN).unwrap();
        let commands: Vec<&str> = text.lines().filter(|line| line.starts_with("    ")).collect();
        assert_eq!(commands[0], "    POOL=rbd");
        assert_eq!(
            commands[1],
            "    rbd create --size 4294967296B --image-feature layering \"$POOL/vm-100-scsi0\""
        );
        let joined = commands.join("\n");
        for trace in ["id)", "reboot", "p|q", "n&", "`"] {
            assert!(!joined.contains(trace), "{trace}\n{joined}");
        }
    }

    #[test]
    fn without_a_visible_point_the_text_says_so() {
        let text = render(&History::default(), Path::new("/x"));
        assert!(text.contains("There is no restore point here."));
        assert!(!text.contains("\n    rbd"));
    }

    #[test]
    fn a_broken_chain_is_said_and_not_restored_half() {
        let world = World::new();
        let point = world.point(2, Some(1));
        let text = render(&world.guest().load().unwrap(), world.guest().path());
        assert!(text.contains("scsi0 cannot be restored: "), "{text}");
        assert!(!text.contains("rbd import-diff --no"), "{}", point.dir.display());
    }
}
