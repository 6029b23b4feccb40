//! Directories as eve4pve-barc made them, and broken ones. The files are made here; nothing is read
//! from elsewhere.

use super::sums::{Algorithm, Summed};
use super::*;
use crate::model::VolumeId;
use crate::stream::{Header, StreamWriter};
use proptest::prelude::*;
use std::fs;
use std::io::{Read as _, Write as _};

const KIB: u64 = 1024;

struct Old {
    home: tempfile::TempDir,
    pool: &'static str,
    algorithm: Option<Algorithm>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Packed {
    Plain,
    Gzip,
    Bzip2,
}

fn pack(packed: Packed, bytes: &[u8]) -> Vec<u8> {
    match packed {
        Packed::Plain => bytes.to_vec(),
        Packed::Gzip => {
            let mut encoder = flate2::write::GzEncoder::new(vec![], flate2::Compression::fast());
            encoder.write_all(bytes).unwrap();
            encoder.finish().unwrap()
        }
        Packed::Bzip2 => {
            let mut encoder = bzip2::write::BzEncoder::new(vec![], bzip2::Compression::fast());
            encoder.write_all(bytes).unwrap();
            encoder.finish().unwrap()
        }
    }
}

impl Old {
    fn new(pool: &'static str, algorithm: Option<Algorithm>) -> Self {
        let home = tempfile::tempdir().unwrap();
        fs::create_dir_all(home.path().join("barc/100/daily")).unwrap();
        Self { home, pool, algorithm }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.home.path().join("barc/100/daily").join(name)
    }

    fn name(&self, stamp: &str, ending: &str) -> String {
        format!("{stamp}{}.vm-100-disk-0{ending}", self.pool)
    }

    /// Writes a data file with what the old tool wrote beside it.
    fn put(&self, stamp: &str, ending: &str, packed: Packed, content: &[u8]) {
        let name = self.name(stamp, ending);
        fs::write(self.path(&name), pack(packed, content)).unwrap();
        if let Some(algorithm) = self.algorithm {
            let mut summed = Summed::new(content, [algorithm].into_iter());
            std::io::copy(&mut summed, &mut std::io::sink()).unwrap();
            let (length, sums) = summed.finish();
            let beside = format!("{name}.{}", algorithm.suffix());
            fs::write(self.path(&beside), format!("{}  -\n", sums[0].1)).unwrap();
            fs::write(self.path(&format!("{beside}.size")), format!("{length}\n")).unwrap();
        }
        self.config(stamp, "");
    }

    fn config(&self, stamp: &str, size: &str) {
        let text = format!("scsi0: ceph:vm-100-disk-0{size}\n");
        fs::write(self.path(&format!("{stamp}.conf")), text).unwrap();
    }

    fn history(&self) -> LegacyHistory {
        self.history_in(TimeZone::UTC)
    }

    fn history_in(&self, zone: TimeZone) -> LegacyHistory {
        let repository = LegacyRepository::open(self.home.path(), Disk::real(), zone).unwrap();
        let mut history = repository.unwrap().directories().unwrap().remove(0).load().unwrap();
        history.resolve(|config| {
            let size = config.split_once("size=").map(|(_, n)| n.trim().parse().unwrap());
            let volume: VolumeId = "ceph:vm-100-disk-0".parse().unwrap();
            vec![ConfigDisk { key: "scsi0".parse().unwrap(), volume, pool: None, size }]
        });
        history
    }

    /// What is damaged, by file name, and how many points that costs.
    fn damage(&self) -> Vec<(String, usize)> {
        let report = self.history().verify(None, 2, &|_: u64| Ok(())).unwrap();
        let name = |path: &Path| path.file_name().unwrap().to_str().unwrap().to_owned();
        report.damage.iter().map(|d| (name(&d.file), d.points_lost.len())).collect()
    }

    /// The content of each point, read in both ways that there are.
    fn contents(&self) -> Vec<Result<Vec<u8>, String>> {
        let history = self.history();
        history.points.iter().map(|point| content(&history, point)).collect()
    }
}

fn content(history: &LegacyHistory, point: &LegacyPoint) -> Result<Vec<u8>, String> {
    let links = history.chain_of(point, "scsi0").map_err(|error| error.to_string())?;
    let chain = LegacyChain::open(&links, &|_: u64| Ok(())).map_err(|error| error.to_string())?;
    let mut volume = vec![0; usize::try_from(chain.size()).unwrap()];
    let mut last = 0;
    let mut take = |offset: u64, bytes: &[u8]| {
        assert!(offset >= last, "blocks ascend");
        last = offset + bytes.len() as u64;
        let at = usize::try_from(offset).unwrap();
        volume[at..at + bytes.len()].copy_from_slice(bytes);
        Ok::<(), super::super::image::ImageError>(())
    };
    chain.for_each_block(&mut take).map_err(|error| error.to_string())?;
    let mut stream = Vec::new();
    chain.write_stream(&mut stream, None, 4 << 20).map_err(|error| error.to_string())?;
    assert!(applied(&stream) == volume, "the stream is the volume");
    Ok(volume)
}

/// What a stream makes of an empty volume.
fn applied(stream: &[u8]) -> Vec<u8> {
    let mut reader = crate::stream::StreamReader::new(stream).unwrap();
    let header = reader.read_header().unwrap();
    let mut volume = vec![0; usize::try_from(header.size).unwrap()];
    loop {
        match reader.next_record().unwrap() {
            crate::stream::Record::Write { offset, length } => {
                let (at, count) =
                    (usize::try_from(offset).unwrap(), usize::try_from(length).unwrap());
                assert_eq!(reader.read_data(&mut volume[at..at + count]).unwrap(), count);
            }
            crate::stream::Record::End => break,
            other => panic!("{other:?}"),
        }
    }
    reader.finish().unwrap();
    volume
}

/// A change of a volume: where, how many bytes, and with what; 0 is a discard.
type Change = (u64, u64, u8);

fn apply(volume: &mut Vec<u8>, size: u64, changes: &[Change]) {
    volume.resize(usize::try_from(size).unwrap(), 0);
    for (offset, length, byte) in changes {
        volume[usize::try_from(*offset).unwrap()..][..usize::try_from(*length).unwrap()]
            .fill(*byte);
    }
}

fn diff(from: Option<&str>, to: &str, size: u64, changes: &[Change]) -> Vec<u8> {
    let header = Header { from: from.map(str::to_owned), to: Some(to.to_owned()), size };
    let mut writer = StreamWriter::new(Vec::new(), &header).unwrap();
    for (offset, length, byte) in changes {
        match byte {
            0 => writer.zero(*offset, *length).unwrap(),
            _ => writer.write(*offset, &vec![*byte; usize::try_from(*length).unwrap()]).unwrap(),
        }
    }
    writer.finish().unwrap()
}

const SIZE: u64 = 3 << 20;

/// A base and two increments, the last with a shrink; gives the three contents.
fn chain_of_three(
    old: &Old,
    stamps: [&str; 3],
    endings: [&str; 3],
    packed: Packed,
) -> Vec<Vec<u8>> {
    let [s0, s1, s2] = stamps.map(|stamp| format!("barcdaily{stamp}"));
    let (mut volume, mut contents) = (Vec::new(), Vec::new());
    apply(&mut volume, SIZE, &[(5000, 100 * KIB, 7), (2 << 20, 9, 8)]);
    old.put(stamps[0], endings[0], packed, &volume);
    contents.push(volume.clone());
    let first = [(0, 10, 1), (6000, 70 * KIB, 0), (SIZE - 1, 1, 2)];
    apply(&mut volume, SIZE, &first);
    old.put(stamps[1], endings[1], packed, &diff(Some(&s0), &s1, SIZE, &first));
    contents.push(volume.clone());
    let second = [(1 << 20, 300 * KIB, 3)];
    apply(&mut volume, 2 << 20, &second);
    old.put(stamps[2], endings[2], packed, &diff(Some(&s1), &s2, 2 << 20, &second));
    contents.push(volume);
    contents
}

const LONG: [&str; 3] = ["20200101120000", "20200102120000", "20200103120000"];
const SHORT: [&str; 3] = ["180101120000", "180102120000", "180103120000"];

#[test]
fn archives_of_every_kind_are_read_f12() {
    let endings: [([&str; 3], Packed); 7] = [
        ([".img", ".diff", ".diff"], Packed::Plain),
        ([".img.gz", ".diff.gz", ".diff.gz"], Packed::Gzip),
        ([".img.bz2", ".diff.bz2", ".diff.bz2"], Packed::Bzip2),
        ([".img.zz", ".diff.zz", ".diff.zz"], Packed::Gzip),
        // Checksums were off: plain data under compressed names.
        ([".img.zz", ".diff.gz", ".diff.bz2"], Packed::Plain),
        // The base was missing: a raw full in a file called diff.
        ([".diff", ".diff", ".diff"], Packed::Plain),
        ([".diff.zz", ".diff.zz", ".diff.zz"], Packed::Gzip),
    ];
    let pools = ["rbd", "2tb", "my.pool", "ssd-rbd.ns"];
    let algorithms = [None].into_iter().chain(Algorithm::ALL.map(Some)).cycle();
    let stamps = [LONG, SHORT, SHORT].into_iter().cycle();
    let pairs = endings.iter().flat_map(|e| pools.iter().map(move |p| (e, p))).zip(stamps);
    for ((((endings, packed), pool), stamps), algorithm) in pairs.zip(algorithms) {
        let old = Old::new(pool, algorithm);
        let expected = chain_of_three(&old, stamps, *endings, *packed);
        let about = format!("{endings:?} {packed:?} {pool} {algorithm:?} {stamps:?}");
        let found: Result<Vec<_>, _> = old.contents().into_iter().collect();
        assert!(found.as_ref() == Ok(&expected), "{about}: {:?}", found.err());
        assert_eq!(old.damage(), [], "{about}");
        let history = old.history();
        let kinds: Vec<bool> =
            history.points.iter().map(|point| point.images[0].is_increment()).collect();
        assert_eq!(kinds, [false, true, true], "{about}");
        assert_eq!(history.points[0].images[0].measured_size().unwrap(), SIZE);
    }
}

#[test]
fn nothing_is_changed_by_reading() {
    let old = Old::new("rbd", Some(Algorithm::Sha1));
    chain_of_three(&old, LONG, [".img.bz2", ".diff.bz2", ".diff.bz2"], Packed::Bzip2);
    fs::write(old.path("20200103120000rbd.vm-100-disk-0.diff-merged"), b"x").unwrap();
    let state = || {
        let entries = fs::read_dir(old.path("")).unwrap().map(|e| e.unwrap());
        let mut all: Vec<_> = entries
            .map(|e| {
                (
                    e.file_name(),
                    fs::read(e.path()).unwrap(),
                    e.metadata().unwrap().modified().unwrap(),
                )
            })
            .collect();
        all.sort();
        all
    };
    let before = state();
    assert_eq!(old.damage(), []);
    assert!(old.contents().iter().all(Result::is_ok));
    assert_eq!(old.history().leftovers.len(), 1);
    assert!(before == state());
}

/// Breaks one thing in a good directory, and expects this file to be blamed at the cost of so many
/// points; and no such point to be read.
fn broken(algorithm: Option<Algorithm>, what: impl FnOnce(&Old), file: &str, cost: usize) {
    let old = Old::new("rbd", algorithm);
    chain_of_three(&old, LONG, [".img.gz", ".diff.gz", ".diff.gz"], Packed::Gzip);
    what(&old);
    let name = file.replace('_', "rbd.vm-100-disk-0");
    assert_eq!(old.damage(), [(name.clone(), cost)], "{name}");
    let readable = old.contents().iter().filter(|content| content.is_ok()).count();
    assert_eq!(readable, old.history().points.len() - cost, "{name}");
}

const BASE: &str = "20200101120000_.img.gz";
const FIRST: &str = "20200102120000_.diff.gz";
const LAST: &str = "20200103120000_.diff.gz";

#[test]
fn a_wrong_checksum_is_damage_whatever_made_it() {
    for algorithm in Algorithm::ALL {
        let suffix = algorithm.suffix();
        let turn = |old: &Old| {
            let path = old.path(&old.name(LONG[1], &format!(".diff.gz.{suffix}")));
            let text = fs::read_to_string(&path).unwrap();
            let digit = if text.starts_with('0') { "1" } else { "0" };
            fs::write(&path, format!("{digit}{}", &text[1..])).unwrap();
        };
        broken(Some(algorithm), turn, FIRST, 2);
    }
}

#[test]
fn what_is_not_whole_is_damage() {
    let sha = Some(Algorithm::Sha1);
    let path = |old: &Old, at: usize, ending: &str| old.path(&old.name(LONG[at], ending));
    let rewrite = |old: &Old, at: usize, ending: &str, change: &dyn Fn(&mut Vec<u8>)| {
        let mut content = Vec::new();
        let file = fs::File::open(path(old, at, ending)).unwrap();
        flate2::read::GzDecoder::new(file).read_to_end(&mut content).unwrap();
        change(&mut content);
        old.put(LONG[at], ending, Packed::Gzip, &content);
    };
    let cut = |old: &Old, at: usize, ending: &str| {
        let bytes = fs::read(path(old, at, ending)).unwrap();
        fs::write(path(old, at, ending), &bytes[..bytes.len() - 9]).unwrap();
    };
    broken(None, |old| cut(old, 0, ".img.gz"), BASE, 3);
    broken(None, |old| cut(old, 2, ".diff.gz"), LAST, 1);
    // The old tool noted fitting sums of partial streams.
    broken(sha, |old| rewrite(old, 1, ".diff.gz", &|c| c.truncate(c.len() - 1)), FIRST, 2);
    broken(sha, |old| rewrite(old, 2, ".diff.gz", &|c| c.push(0)), LAST, 1);
    broken(sha, |old| rewrite(old, 2, ".diff.gz", &|c| c.truncate(20)), LAST, 1);
    broken(sha, |old| rewrite(old, 2, ".diff.gz", &Vec::clear), LAST, 1);
    broken(None, |old| old.put(LONG[2], ".diff.gz", Packed::Plain, b""), LAST, 1);
    broken(sha, |old| fs::write(path(old, 0, ".img.gz.sha1.size"), "77\n").unwrap(), BASE, 3);
    broken(sha, |old| fs::write(path(old, 0, ".img.gz.sha1.size"), "").unwrap(), BASE, 3);
    broken(sha, |old| fs::write(path(old, 2, ".diff.gz.sha1"), "").unwrap(), LAST, 1);
    // A raw file that was cut off has nothing but the configuration to tell it.
    let short = |old: &Old| {
        rewrite(old, 0, ".img.gz", &|c| c.truncate(1 << 20));
        old.config(LONG[0], &format!(",size={SIZE}"));
    };
    broken(sha, short, BASE, 3);
}

#[test]
fn chains_are_followed_by_the_names_in_the_streams() {
    let no_base = |old: &Old| {
        fs::remove_file(old.path(&old.name(LONG[0], ".img.gz"))).unwrap();
        fs::remove_file(old.path(&format!("{}.conf", LONG[0]))).unwrap();
    };
    broken(None, no_base, FIRST, 2);
    let other_base = |old: &Old| {
        let stream = diff(Some("before-daily-update"), "barcdaily20200103120000", SIZE, &[]);
        old.put(LONG[2], ".diff.gz", Packed::Gzip, &stream);
    };
    broken(None, other_base, LAST, 1);
    let other_end = |old: &Old| {
        let stream = diff(Some("barcdaily20200102120000"), "barcdaily20200109120000", SIZE, &[]);
        old.put(LONG[2], ".diff.gz", Packed::Gzip, &stream);
    };
    broken(None, other_end, LAST, 1);
    let itself = |old: &Old| {
        let stream = diff(Some("barcdaily20200103120000"), "barcdaily20200103120000", SIZE, &[]);
        old.put(LONG[2], ".diff.gz", Packed::Gzip, &stream);
    };
    broken(None, itself, LAST, 1);
}

#[test]
fn a_full_in_the_middle_begins_anew_and_the_older_ones_stay_readable() {
    let old = Old::new("rbd", None);
    let mut expected = chain_of_three(&old, LONG, [".img", ".diff", ".diff"], Packed::Plain);
    let raw = vec![9; 4096];
    old.put("20200104120000", ".diff", Packed::Plain, &raw);
    expected.push(raw);
    let found: Result<Vec<_>, _> = old.contents().into_iter().collect();
    assert!(found == Ok(expected));
}

#[test]
fn a_point_without_configuration_borrows_the_names_and_not_the_size() {
    let old = Old::new("rbd", None);
    chain_of_three(&old, LONG, [".img", ".diff", ".diff"], Packed::Plain);
    fs::remove_file(old.path("20200101120000.conf")).unwrap();
    old.config(LONG[1], ",size=99999999");
    let history = old.history();
    assert!(history.points.iter().all(|p| p.images[0].key.is_some()));
    assert!(history.points[0].config.is_none());
    assert!(content(&history, &history.points[0]).is_ok());
}

#[test]
fn the_hour_that_comes_twice_is_told_by_the_chain() {
    let old = Old::new("rbd", None);
    // At 3 o'clock of that day it became 2 again: the names go back, and the first increment was
    // made 20 minutes after its base.
    let stamps = ["20201025025000", "20201025021000", "20201025022000"];
    let expected = chain_of_three(&old, stamps, [".img", ".diff", ".diff"], Packed::Plain);
    let history = old.history_in(TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap());
    let times: Vec<String> = history.points.iter().map(|point| point.time.to_string()).collect();
    assert_eq!(times, ["2020-10-25T00:50:00Z", "2020-10-25T01:10:00Z", "2020-10-25T01:20:00Z"]);
    let found: Vec<Vec<u8>> =
        history.points.iter().map(|point| content(&history, point).unwrap()).collect();
    assert!(found == expected);
}

fn changes(size: u64) -> impl Strategy<Value = Vec<Change>> {
    let one = (0..size / 8, 1..size / 8, 0..4_u8);
    proptest::collection::vec(one, 0..5).prop_map(move |runs| {
        let mut at = 0;
        let mut changes = Vec::new();
        for (gap, length, byte) in runs {
            at += gap;
            let length = length.min(size.saturating_sub(at));
            if length > 0 {
                changes.push((at, length, byte));
            }
            at += length;
        }
        changes
    })
}

/// A size in bytes and what was changed at it.
fn step() -> impl Strategy<Value = (u64, Vec<Change>)> {
    (64..400 * KIB).prop_flat_map(|size| changes(size).prop_map(move |changes| (size, changes)))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_random_chain_is_its_model(
        base in (any::<bool>(), step()),
        steps in proptest::collection::vec(step(), 0..5),
        gzip in any::<bool>(),
    ) {
        let (ending, packed) = if gzip { (".zz", Packed::Gzip) } else { ("", Packed::Plain) };
        let old = Old::new("rbd", Some(Algorithm::Md5));
        let stamp = |at: usize| format!("2020010112000{at}");
        let snapshot = |at: usize| format!("barcdaily{}", stamp(at));
        let (is_stream, (size, changes)) = base;
        let mut volume = Vec::new();
        apply(&mut volume, size, &changes);
        let content =
            if is_stream { diff(None, &snapshot(0), size, &changes) } else { volume.clone() };
        old.put(&stamp(0), &format!(".img{ending}"), packed, &content);
        let mut expected = vec![volume.clone()];
        for (at, (size, changes)) in steps.iter().enumerate() {
            apply(&mut volume, *size, changes);
            let content = diff(Some(&snapshot(at)), &snapshot(at + 1), *size, changes);
            old.put(&stamp(at + 1), &format!(".diff{ending}"), packed, &content);
            expected.push(volume.clone());
        }
        let found: Result<Vec<_>, _> = old.contents().into_iter().collect();
        prop_assert!(found == Ok(expected));
        prop_assert_eq!(old.damage(), vec![]);
    }
}
