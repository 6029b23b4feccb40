//! The names of eve4pve-barc's files. Only what they say of stamp and disk is believed; what a file
//! holds, `content` finds out.

use super::sums::Algorithm;
use crate::model::Moment;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

/// What a file is by its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum FileName {
    Data(DataName),
    Config(String),
    Firewall(String),
    /// A checksum or a length, which belongs to the data file of the same beginning.
    Sidecar,
    /// What an interrupted merge left.
    Leftover,
    Foreign,
}

/// The name of a data file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct DataName {
    pub stamp: String,
    /// `<pool>[.<namespace>].<image>`; all files of a disk have the same.
    pub disk: String,
    /// Whether the name ends as a compressed file's does. Its content may be plain all the same.
    pub ends_compressed: bool,
}

impl FileName {
    pub(super) fn parse(name: &str) -> Self {
        let Some((stamp, rest)) = split_stamp(name) else { return Self::Foreign };
        match rest {
            ".conf" => return Self::Config(stamp.to_owned()),
            ".fw" => return Self::Firewall(stamp.to_owned()),
            _ => {}
        }
        if let Some(data) = data_name(stamp, rest) {
            return Self::Data(data);
        }
        let without_size = rest.strip_suffix(".size").unwrap_or(rest);
        let of_data = without_size.rsplit_once('.').is_some_and(|(data, suffix)| {
            Algorithm::of_suffix(suffix).is_some() && data_name(stamp, data).is_some()
        });
        if of_data {
            return Self::Sidecar;
        }
        let left = rest.contains("-merged") || rest.ends_with(".raw");
        if left && rest.contains(".diff") { Self::Leftover } else { Self::Foreign }
    }
}

fn data_name(stamp: &str, rest: &str) -> Option<DataName> {
    let packed = [".gz", ".bz2", ".zz"].iter().find_map(|end| rest.strip_suffix(end));
    let plain = packed.unwrap_or(rest);
    let disk = plain.strip_suffix(".img").or_else(|| plain.strip_suffix(".diff"))?;
    let (pool, image) = disk.split_once('.')?;
    (!pool.is_empty() && !image.is_empty()).then(|| DataName {
        stamp: stamp.to_owned(),
        disk: disk.to_owned(),
        ends_compressed: packed.is_some(),
    })
}

/// Separates the stamp from a name, in which a pool's own digits may follow it at once. Both lengths
/// cannot be confused: read with 12 digits, a stamp of 14 from 2013 on has a month above 12; and read
/// with 14, one of 12 is of another century or of a year before 2013, when the tool did not exist.
fn split_stamp(name: &str) -> Option<(&str, &str)> {
    let digits = name.bytes().take_while(u8::is_ascii_digit).count();
    let fits = |length: usize, from_year: i16| {
        let stamp = name.get(..length).filter(|_| digits >= length)?;
        let year = civil(stamp)?.year();
        (from_year..2100).contains(&year).then(|| (stamp, &name[length..]))
    };
    // The last one is for a machine whose clock had lost its battery.
    fits(14, 2013).or_else(|| fits(12, 2013)).or_else(|| fits(14, 1970))
}

fn civil(stamp: &str) -> Option<DateTime> {
    let long = if stamp.len() == 12 { format!("20{stamp}") } else { stamp.to_owned() };
    DateTime::strptime("%Y%m%d%H%M%S", long).ok()
}

/// The moments that a stamp may mean, earliest first: an hour that a zone has twice, and one that it
/// leaves out, has two readings, any other one twice the same.
pub(super) fn moments(stamp: &str, zone: &TimeZone) -> Option<[Moment; 2]> {
    let readings = zone.to_ambiguous_zoned(civil(stamp)?);
    let (first, second) = (readings.clone().earlier().ok()?, readings.later().ok()?);
    let moment = |zoned: jiff::Zoned| Moment::from_unix(zoned.timestamp().as_second());
    let mut moments = [moment(first), moment(second)];
    moments.sort();
    Some(moments)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn data(name: &str) -> (String, String, bool) {
        match FileName::parse(name) {
            FileName::Data(data) => (data.stamp, data.disk, data.ends_compressed),
            other => panic!("{name}: {other:?}"),
        }
    }

    #[test]
    fn stamps_of_both_lengths_are_told_from_the_digits_of_a_pool() {
        for (name, stamp, disk) in [
            ("20200101120000rbd.vm-1-disk-0.img", "20200101120000", "rbd.vm-1-disk-0"),
            ("200101120000rbd.vm-1-disk-0.diff", "200101120000", "rbd.vm-1-disk-0"),
            ("202001011200002tb.vm-1-disk-0.img", "20200101120000", "2tb.vm-1-disk-0"),
            ("2001011200002tb.vm-1-disk-0.diff", "200101120000", "2tb.vm-1-disk-0"),
            ("20010112000022tb.vm-1-disk-0.diff", "200101120000", "22tb.vm-1-disk-0"),
            ("180101120000my.pool.ns.vm-1-disk-0.img", "180101120000", "my.pool.ns.vm-1-disk-0"),
        ] {
            assert_eq!(data(name), (stamp.into(), disk.into(), false), "{name}");
        }
        assert!(data("20200101120000rbd.x.img.zz").2);
    }

    #[test]
    fn every_day_has_one_reading() {
        for year in 2013..2040 {
            for month in 1..=12 {
                let long = format!("{year}{month:02}07235959");
                assert_eq!(split_stamp(&long).unwrap(), (long.as_str(), ""));
                let with_pool = format!("{}99.x", &long[2..]);
                assert_eq!(split_stamp(&with_pool).unwrap(), (&long[2..], "99.x"));
            }
        }
    }

    #[test]
    fn other_files_are_told_by_their_names() {
        for (name, expected) in [
            ("20200101120000.conf", FileName::Config("20200101120000".into())),
            ("200101120000.fw", FileName::Firewall("200101120000".into())),
            ("20200101120000rbd.x.img.zz.sha1", FileName::Sidecar),
            ("20200101120000rbd.x.diff.sha512.size", FileName::Sidecar),
            ("20200101120000rbd.x.diff-merged", FileName::Leftover),
            ("20200101120000rbd.x.diff.raw", FileName::Leftover),
            ("20200101120000rbd.x.diff.gz.raw", FileName::Leftover),
            ("20201301120000rbd.x.img", FileName::Foreign),
            ("20200101120000.img", FileName::Foreign),
            ("notes.txt", FileName::Foreign),
            ("", FileName::Foreign),
        ] {
            assert_eq!(FileName::parse(name), expected, "{name}");
        }
    }

    #[test]
    fn stamps_are_local_time() {
        let zone = TimeZone::fixed(jiff::tz::offset(2));
        let moment = |stamp| super::moments(stamp, &zone).unwrap()[0].to_string();
        assert_eq!(moment("20200601120000"), "2020-06-01T10:00:00Z");
        assert_eq!(moment("200601003000"), "2020-05-31T22:30:00Z");
    }
}
