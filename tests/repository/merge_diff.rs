//! Merged images beside `rbd merge-diff` and the snapshots themselves, on the real cluster whose
//! ceph.conf `PVE_FERRY_LAB_CEPH_CONF` names (`make test` starts one); says so when there is none.

// The reference is a program; production code has one door for those, tests have this.
#![allow(clippy::disallowed_methods)]

use crate::example;
use pve_ferry::repository::image::*;
use pve_ferry::repository::*;
use pve_ferry::stream::{Header, StreamWriter};
use std::ffi::OsString;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

const MIB: u64 = 1 << 20;

/// A volume in the cluster; removed with all snapshots at the end.
struct Volume {
    conf: OsString,
    name: String,
}

impl Volume {
    fn make(conf: &OsString, name: &str, size: u64) -> Self {
        let name = format!("data/merge-{}-{name}", std::process::id());
        let volume = Self { conf: conf.clone(), name };
        volume.rbd(&["create", "--size", &format!("{size}B"), &volume.name], b"");
        volume
    }

    fn rbd(&self, arguments: &[&str], input: &[u8]) -> Vec<u8> {
        let mut command = Command::new("rbd");
        command.arg("-c").arg(&self.conf).args(arguments);
        let pipes = command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = pipes.spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let output = std::thread::scope(|scope| {
            scope.spawn(move || stdin.write_all(input));
            child.wait_with_output().unwrap()
        });
        assert!(output.status.success(), "rbd {arguments:?}");
        output.stdout
    }

    fn import_diff(&self, stream: &[u8]) {
        self.rbd(&["import-diff", "--no-progress", "-", &self.name], stream);
    }

    fn content(&self, snapshot: &str) -> Vec<u8> {
        self.rbd(&["export", "--no-progress", &format!("{}@{snapshot}", self.name), "-"], b"")
    }

    fn resize(&self, size: u64) {
        let size = format!("{size}B");
        self.rbd(&["resize", "--no-progress", "--allow-shrink", "--size", &size, &self.name], b"");
    }

    /// Writes noise, or zeros without a seed, and makes the snapshot of point `n`.
    fn change(&self, n: usize, size: u64, places: &[(u64, u64, Option<u8>)]) -> String {
        let header = Header { size, ..Header::default() };
        let mut stream = StreamWriter::new(Vec::new(), &header).unwrap();
        for (offset, length, seed) in places {
            match seed {
                Some(seed) => {
                    let noise: Vec<u8> =
                        (0..*length).map(|i| ((i * i) >> 7) as u8 ^ seed).collect();
                    stream.write(*offset, &noise).unwrap();
                }
                None => stream.zero(*offset, *length).unwrap(),
            }
        }
        self.import_diff(&stream.finish().unwrap());
        let name = example::header("scsi0", n, size).to.unwrap();
        self.rbd(&["snap", "create", "--no-progress", &format!("{}@{name}", self.name)], b"");
        name
    }

    fn export_diff(&self, from: Option<&str>, to: &str) -> Vec<u8> {
        let to = format!("{}@{to}", self.name);
        let mut arguments = vec!["export-diff", "--no-progress"];
        arguments.extend(from.iter().flat_map(|from| ["--from-snap", from]));
        arguments.extend([to.as_str(), "-"]);
        self.rbd(&arguments, b"")
    }
}

impl Drop for Volume {
    fn drop(&mut self) {
        for arguments in [["snap", "purge"].as_slice(), &["rm"]] {
            let mut command = Command::new("rbd");
            command.arg("-c").arg(&self.conf).args(arguments).arg("--no-progress");
            let _ = command.arg(&self.name).output();
        }
    }
}

/// Grow, shrink, shrink and grow again, writes and discards: the source, its snapshots, its sizes.
fn source(conf: &OsString) -> (Volume, Vec<String>, [u64; 5]) {
    let volume = Volume::make(conf, "source", 40 * MIB);
    let sizes = [40 * MIB, 60 * MIB, 24 * MIB, 48 * MIB, 48 * MIB + 512];
    let mut names = vec![volume.change(
        0,
        sizes[0],
        &[(0, 2 * MIB, Some(1)), (12 * MIB + 100, 5000, Some(2)), (20 * MIB, 19 * MIB, Some(3))],
    )];
    let grown = [(512, 512, Some(6)), (20 * MIB, 4 * MIB, None), (50 * MIB, 3 * MIB, Some(5))];
    names.push(volume.change(1, sizes[1], &grown));
    names.push(volume.change(2, sizes[2], &[(16 * MIB, MIB, Some(7))]));
    volume.resize(12 * MIB);
    names.push(volume.change(3, sizes[3], &[(2 * MIB, 65536, Some(8)), (44 * MIB, MIB, Some(9))]));
    names.push(volume.change(4, sizes[4], &[(1000, 3000, None), (48 * MIB, 512, Some(4))]));
    (volume, names, sizes)
}

/// The streams as `rbd merge-diff` merges them.
fn merged_by_rbd(volume: &Volume, directory: &Path, streams: &[(u64, Vec<u8>)]) -> Vec<u8> {
    let path = |name: String| directory.join(name).to_str().unwrap().to_owned();
    let mut merged = streams[0].1.clone();
    for (n, (_, stream)) in streams.iter().enumerate().skip(1) {
        let [first, second, output] = ["a", "b", "c"].map(|part| path(format!("{n}{part}")));
        std::fs::write(&first, merged).unwrap();
        std::fs::write(&second, stream).unwrap();
        volume.rbd(&["merge-diff", "--no-progress", &first, &second, &output], b"");
        merged = std::fs::read(output).unwrap();
    }
    merged
}

#[test]
fn a_merged_image_does_what_rbd_merge_diff_and_the_single_diffs_do() {
    let Some(conf) = std::env::var_os("PVE_FERRY_LAB_CEPH_CONF") else {
        println!("SKIPPED on real Ceph: rbd merge-diff: PVE_FERRY_LAB_CEPH_CONF names no cluster");
        return;
    };
    let (source, names, sizes) = source(&conf);
    let before = |n: usize| n.checked_sub(1).map(|n| names[n].as_str());
    let streams: Vec<(u64, Vec<u8>)> =
        (0..5).map(|n| (sizes[n], source.export_diff(before(n), &names[n]))).collect();
    for (first, into) in [(1, 2), (1, 3), (2, 4), (1, 4), (0, 4)] {
        let dir = tempfile::tempdir().unwrap();
        example::make_of_streams(dir.path(), &streams);
        let guest = example::guest(dir.path());
        let lock = example::exclusive(&guest);
        let points = guest.load().unwrap().points;
        let zeros = ZeroRuns::Aligned;
        let image = ImageOptions { compression: Compression::None, threads: 2, zeros };
        let options = MergeOptions { image, progress: &|_| {} };
        let merged = guest.merge_points(&lock, &points[into], &points[first..into], &options);
        let merged = merged.unwrap().point;
        let ours = std::fs::read(merged.dir.join(&merged.manifest.images[0].file)).unwrap();
        let theirs = merged_by_rbd(&source, dir.path(), &streams[first..=into]);
        let expected = source.content(&names[into]);
        for (who, stream) in [("ours", ours), ("theirs", theirs)] {
            let target = Volume::make(&conf, who, if first == 0 { sizes[into] } else { sizes[0] });
            streams[..first].iter().for_each(|(_, stream)| target.import_diff(stream));
            target.import_diff(&stream);
            let right = target.content(&names[into]) == expected;
            assert!(right, "{who}: {first} to {into}");
        }
    }
}
