//! Directories as eve4pve-barc made them, and broken ones. The files are made here (`old`); nothing
//! is read from elsewhere.

mod old;

use super::sums::Algorithm;
use super::*;
use old::{Change, KIB, Old, Packed, SIZE, apply, chain_of_three, content, diff};
use proptest::prelude::*;
use std::fs;
use std::io::Read as _;

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
