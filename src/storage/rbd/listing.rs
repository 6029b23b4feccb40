//! Which of an image's objects can exist: by listing its pool, where that costs less than to ask for
//! each. Does not read objects, and does not know how they lie in the image.
//!
//! What is listed are the pool's heads (`pgnls` of Ceph's `PrimaryLogPG` passes over clones, and
//! refuses to list a snapshot), but an object of a snapshot that is deleted afterwards keeps a head:
//! `_delete_oid` leaves an empty one, a whiteout, while there are clones or will be, and the snapshot
//! trimmer removes it with the last of them. So a snapshot that stands has no object that is not
//! listed. (Tried on Ceph 16: `tests/lab/cases/36-audit.sh`.) Two kinds of clusters are different and are
//! asked object by object. Before Ceph 12 such heads were objects of another kind (`snapdir`), which are
//! not listed; the flag `purged_snapdirs` says that none is left. And what a cache tier holds is not
//! listed with the pool below it.

use super::librados::{Failure, PoolAt};
use serde::Deserialize;
use std::collections::HashMap;

/// So many objects are listed in the time in which one is asked for, at the least: of a lab's Ceph 16
/// 60,000 were listed in 0.4 s, and 1,500 asked for in a second, 16 at once.
const LISTED_IN_ONE_QUESTION: u64 = 16;

/// Flags of a cluster in which heads stay as above, and a list goes on where it was when groups split.
const NEEDED: [&str; 3] = ["purged_snapdirs", "sortbitwise", "recovery_deletes"];

/// What is asked of a pool and its cluster.
pub(super) trait Listable {
    fn name(&self) -> &str;
    /// `ceph df`, as JSON.
    fn df(&self) -> Result<String, Failure>;
    /// `ceph osd dump`, as JSON.
    fn osd_dump(&self) -> Result<String, Failure>;
    /// All names of its namespace, until the answer is no.
    fn each_name(&self, each: &mut dyn FnMut(&str) -> bool) -> Result<(), Failure>;
}

/// The objects `<prefix>.<number, 16 hex>` of a pool.
pub(super) struct Wanted<'a> {
    pub(super) pool: &'a dyn Listable,
    pub(super) prefix: &'a str,
}

/// The numbers of the objects that can exist, of each of `wanted` (all in one cluster). None where
/// `asked` questions cost less than the list, where it cannot be had or not be believed, or when
/// `go_on` said no: whatever hinders it, asking for each object tells the same.
pub(super) fn numbers(
    wanted: &[Wanted],
    asked: u64,
    go_on: &dyn Fn() -> bool,
) -> Option<Vec<Vec<u64>>> {
    let objects = objects(wanted)?;
    if objects > asked.saturating_mul(LISTED_IN_ONE_QUESTION) {
        return None;
    }
    let before = believable(wanted)?;
    let numbers = wanted.iter().map(|wanted| wanted.numbers(go_on)).collect::<Option<Vec<_>>>()?;
    // A tier that was put before a pool meanwhile, or groups that were split or merged: none of it
    // should harm a list, and nothing is lost by not relying on that.
    (believable(wanted)? == before).then_some(numbers)
}

impl Wanted<'_> {
    fn numbers(&self, go_on: &dyn Fn() -> bool) -> Option<Vec<u64>> {
        let (mut numbers, mut is_whole) = (Vec::new(), true);
        let mut each = |name: &str| {
            numbers.extend(self.number(name));
            is_whole = go_on();
            is_whole
        };
        self.pool.each_name(&mut each).ok()?;
        is_whole.then_some(numbers)
    }

    fn number(&self, name: &str) -> Option<u64> {
        let number = name.strip_prefix(self.prefix)?.strip_prefix('.')?;
        u64::from_str_radix(number, 16).ok()
    }
}

/// How many objects the pools hold, clones and other namespaces with them.
fn objects(wanted: &[Wanted]) -> Option<u64> {
    let df: Df = serde_json::from_str(&wanted.first()?.pool.df().ok()?).ok()?;
    let held: HashMap<String, u64> =
        df.pools.into_iter().map(|pool| (pool.name, pool.stats.objects)).collect();
    wanted.iter().map(|wanted| held.get(wanted.pool.name()).copied()).sum()
}

/// What may not change while a list is read; none where a list is not to be believed.
fn believable(wanted: &[Wanted]) -> Option<Vec<Pool>> {
    let map: OsdMap = serde_json::from_str(&wanted.first()?.pool.osd_dump().ok()?).ok()?;
    let is_set = |flag: &&str| map.flags.split(',').any(|set| set == *flag);
    if !NEEDED.iter().all(is_set) {
        return None;
    }
    let pool = |wanted: &Wanted| map.pools.iter().find(|pool| pool.name == wanted.pool.name());
    wanted.iter().map(|wanted| pool(wanted).filter(|pool| !pool.has_tiers()).cloned()).collect()
}

#[derive(Deserialize)]
struct Df {
    pools: Vec<PoolDf>,
}

#[derive(Deserialize)]
struct PoolDf {
    name: String,
    stats: PoolStats,
}

#[derive(Deserialize)]
struct PoolStats {
    objects: u64,
}

#[derive(Deserialize)]
struct OsdMap {
    flags: String,
    pools: Vec<Pool>,
}

/// Numbers of pools that are tiers of it are -1 where there is none.
#[derive(Deserialize, Clone, PartialEq)]
struct Pool {
    #[serde(rename = "pool")]
    id: i64,
    #[serde(rename = "pool_name")]
    name: String,
    pg_num: u64,
    tiers: Vec<i64>,
    tier_of: i64,
    read_tier: i64,
    write_tier: i64,
}

impl Pool {
    fn has_tiers(&self) -> bool {
        !self.tiers.is_empty() || [self.tier_of, self.read_tier, self.write_tier] != [-1; 3]
    }
}

impl Listable for PoolAt {
    fn name(&self) -> &str {
        &self.name
    }

    fn df(&self) -> Result<String, Failure> {
        self.cluster.df()
    }

    fn osd_dump(&self) -> Result<String, Failure> {
        self.cluster.osd_dump()
    }

    fn each_name(&self, each: &mut dyn FnMut(&str) -> bool) -> Result<(), Failure> {
        Self::each_name(self, each)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;

    const FLAGS: &str = "sortbitwise,recovery_deletes,purged_snapdirs,pglog_hardlimit";
    const NAMES: [&str; 6] = [
        "rbd_data.1f.0000000000000000",
        "rbd_header.1f",
        "rbd_data.1f2.0000000000000007",
        "rbd_data.1f.00000000000000ff",
        "rbd_data.1f.junk",
        "rbd_id.vm-100-disk-0",
    ];

    /// A pool `rbd` of a cluster whose answers are made up. Of the OSD maps the last one stays.
    struct Scripted {
        objects: u64,
        maps: RefCell<Vec<String>>,
        names: Result<&'static [&'static str], ()>,
    }

    fn map(flags: &str, read_tier: i64, pg_num: u64) -> String {
        format!(
            r#"{{"epoch":9,"flags":"{flags}","pools":[{{"pool":4,"pool_name":"rbd","pg_num":{pg_num},"tiers":[],"tier_of":-1,"read_tier":{read_tier},"write_tier":-1,"size":3}}]}}"#
        )
    }

    fn scripted(maps: &[String]) -> Scripted {
        let maps = RefCell::new(maps.iter().rev().cloned().collect());
        Scripted { objects: 6, maps, names: Ok(&NAMES) }
    }

    impl Listable for Scripted {
        fn name(&self) -> &str {
            "rbd"
        }

        fn df(&self) -> Result<String, Failure> {
            let objects = self.objects;
            Ok(format!(r#"{{"pools":[{{"name":"rbd","id":4,"stats":{{"objects":{objects}}}}}]}}"#))
        }

        fn osd_dump(&self) -> Result<String, Failure> {
            let mut maps = self.maps.borrow_mut();
            if maps.len() > 1 {
                return Ok(maps.pop().unwrap());
            }
            Ok(maps[0].clone())
        }

        fn each_name(&self, each: &mut dyn FnMut(&str) -> bool) -> Result<(), Failure> {
            let names = self.names.map_err(|()| Failure::nothing())?;
            names.iter().all(|name| each(name));
            Ok(())
        }
    }

    fn listed(pool: &Scripted, asked: u64) -> Option<Vec<Vec<u64>>> {
        numbers(&[Wanted { pool, prefix: "rbd_data.1f" }], asked, &|| true)
    }

    #[test]
    fn objects_of_the_image_are_found_among_those_of_the_pool() {
        let pool = scripted(&[map(FLAGS, -1, 32)]);
        assert_eq!(listed(&pool, 100).unwrap(), [[0, 255]]);
        let parent = Wanted { pool: &pool, prefix: "rbd_data.1f2" };
        let both = [Wanted { pool: &pool, prefix: "rbd_data.1f" }, parent];
        assert_eq!(numbers(&both, 100, &|| true).unwrap(), [vec![0, 255], vec![7]]);
    }

    #[test]
    fn a_pool_of_many_objects_is_not_listed_for_few_questions() {
        let pool = Scripted { objects: 1601, ..scripted(&[map(FLAGS, -1, 32)]) };
        assert_eq!(listed(&pool, 100), None);
        assert!(listed(&pool, 101).is_some());
    }

    #[test]
    fn a_list_that_may_lack_objects_is_not_believed() {
        // An object that only clones are left of is a `snapdir`, which nobody lists.
        for missing in NEEDED {
            let flags = FLAGS.replace(missing, "noout");
            assert_eq!(listed(&scripted(&[map(&flags, -1, 32)]), 100), None, "{missing}");
        }
        // What the tier before it holds is not listed.
        assert_eq!(listed(&scripted(&[map(FLAGS, 5, 32)]), 100), None);
        let tiered = map(FLAGS, -1, 32).replace("\"tiers\":[]", "\"tiers\":[5]");
        assert_eq!(listed(&scripted(&[tiered]), 100), None);
        // It was split, or got a tier, while it was listed.
        for after in [map(FLAGS, -1, 64), map(FLAGS, 5, 32)] {
            assert_eq!(listed(&scripted(&[map(FLAGS, -1, 32), after]), 100), None);
        }
        // Whatever cannot be read says nothing.
        for garbage in ["", "{}", "[]"] {
            assert_eq!(listed(&scripted(&[garbage.to_owned()]), 100), None, "{garbage:?}");
        }
        let failing = Scripted { names: Err(()), ..scripted(&[map(FLAGS, -1, 32)]) };
        assert_eq!(listed(&failing, 100), None);
    }

    #[test]
    fn a_list_that_was_ended_half_way_is_none() {
        let pool = scripted(&[map(FLAGS, -1, 32)]);
        let left = RefCell::new(3);
        let go_on = || {
            *left.borrow_mut() -= 1;
            *left.borrow() > 0
        };
        assert_eq!(numbers(&[Wanted { pool: &pool, prefix: "rbd_data.1f" }], 100, &go_on), None);
        assert_eq!(*left.borrow(), 0, "it ended at once");
    }
}
