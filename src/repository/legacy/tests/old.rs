//! Writes directories as eve4pve-barc wrote them, and reads back what their points hold. Checks
//! nothing of its own but that both ways of reading agree.

use super::super::sums::{Algorithm, Summed};
use super::super::*;
use crate::model::VolumeId;
use crate::repository::image::ImageError;
use crate::stream::{Header, Record, StreamReader, StreamWriter};
use std::fs;
use std::io::Write as _;

pub const KIB: u64 = 1024;

/// The size of the volumes of [`chain_of_three`], bytes.
pub const SIZE: u64 = 3 << 20;

/// A change of a volume: where, how many bytes, and with what; 0 is a discard.
pub type Change = (u64, u64, u8);

/// A directory of guest 100 and label daily, with one disk.
pub struct Old {
    home: tempfile::TempDir,
    pool: &'static str,
    algorithm: Option<Algorithm>,
}

/// How a data file is compressed, whatever its name says.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Packed {
    Plain,
    Gzip,
    Bzip2,
}

impl Old {
    pub fn new(pool: &'static str, algorithm: Option<Algorithm>) -> Self {
        let home = tempfile::tempdir().unwrap();
        fs::create_dir_all(home.path().join("barc/100/daily")).unwrap();
        Self { home, pool, algorithm }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.home.path().join("barc/100/daily").join(name)
    }

    pub fn name(&self, stamp: &str, ending: &str) -> String {
        format!("{stamp}{}.vm-100-disk-0{ending}", self.pool)
    }

    /// Writes a data file with what the old tool wrote beside it.
    pub fn put(&self, stamp: &str, ending: &str, packed: Packed, content: &[u8]) {
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

    pub fn config(&self, stamp: &str, size: &str) {
        let text = format!("scsi0: ceph:vm-100-disk-0{size}\n");
        fs::write(self.path(&format!("{stamp}.conf")), text).unwrap();
    }

    pub fn history(&self) -> LegacyHistory {
        self.history_in(TimeZone::UTC)
    }

    pub fn history_in(&self, zone: TimeZone) -> LegacyHistory {
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
    pub fn damage(&self) -> Vec<(String, usize)> {
        let report = self.history().verify(None, 2, &|_: u64| Ok(())).unwrap();
        let name = |path: &Path| path.file_name().unwrap().to_str().unwrap().to_owned();
        report.damage.iter().map(|d| (name(&d.file), d.points_lost.len())).collect()
    }

    /// The content of each point.
    pub fn contents(&self) -> Vec<Result<Vec<u8>, String>> {
        let history = self.history();
        history.points.iter().map(|point| content(&history, point)).collect()
    }
}

/// What a point holds, read in both ways that there are.
pub fn content(history: &LegacyHistory, point: &LegacyPoint) -> Result<Vec<u8>, String> {
    let links = history.chain_of(point, "scsi0").map_err(|error| error.to_string())?;
    let chain = LegacyChain::open(&links, &|_: u64| Ok(())).map_err(|error| error.to_string())?;
    let mut volume = vec![0; usize::try_from(chain.size()).unwrap()];
    let mut last = 0;
    let mut take = |offset: u64, bytes: &[u8]| {
        assert!(offset >= last, "blocks ascend");
        last = offset + bytes.len() as u64;
        let at = usize::try_from(offset).unwrap();
        volume[at..at + bytes.len()].copy_from_slice(bytes);
        Ok::<(), ImageError>(())
    };
    chain.for_each_block(&mut take).map_err(|error| error.to_string())?;
    let mut stream = Vec::new();
    chain.write_stream(&mut stream, None, 4 << 20).map_err(|error| error.to_string())?;
    assert!(applied(&stream) == volume, "the stream is the volume");
    Ok(volume)
}

/// Makes these changes to a volume of this size.
pub fn apply(volume: &mut Vec<u8>, size: u64, changes: &[Change]) {
    volume.resize(usize::try_from(size).unwrap(), 0);
    for (offset, length, byte) in changes {
        volume[usize::try_from(*offset).unwrap()..][..usize::try_from(*length).unwrap()]
            .fill(*byte);
    }
}

/// A stream of these changes.
pub fn diff(from: Option<&str>, to: &str, size: u64, changes: &[Change]) -> Vec<u8> {
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

/// A base and two increments, the last with a shrink; gives the three contents.
pub fn chain_of_three(
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

/// What a stream makes of an empty volume.
fn applied(stream: &[u8]) -> Vec<u8> {
    let mut reader = StreamReader::new(stream).unwrap();
    let header = reader.read_header().unwrap();
    let mut volume = vec![0; usize::try_from(header.size).unwrap()];
    loop {
        match reader.next_record().unwrap() {
            Record::Write { offset, length } => {
                let (at, count) =
                    (usize::try_from(offset).unwrap(), usize::try_from(length).unwrap());
                assert_eq!(reader.read_data(&mut volume[at..at + count]).unwrap(), count);
            }
            Record::End => break,
            other => panic!("{other:?}"),
        }
    }
    reader.finish().unwrap();
    volume
}
