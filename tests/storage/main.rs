//! One conformance suite that every storage driver passes. Not for how a driver does it: that is
//! tested beside the code.
//!
//! Memory always runs. Rbd runs on the real cluster whose ceph.conf `PVE_FERRY_LAB_CEPH_CONF`
//! names (`make test` starts one) and says loudly when there is none.

// A test that cannot go on fails: that is its work. clippy allows it only inside of test functions.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr)]

mod blocks;
mod driver;
mod site;
mod stream;
mod suite;

use site::Site;
use std::path::PathBuf;

macro_rules! conformance {
    ($($test:ident),+ $(,)?) => {
        mod memory {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $test() {
                crate::contract::$test(crate::site::Site::memory()).await;
            })+
        }
        mod rbd {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $test() {
                let Some(conf) = crate::lab_cluster(stringify!($test)) else { return };
                let site = crate::site::Site::rbd(conf, stringify!($test)).await;
                crate::swept(site, crate::contract::$test).await;
            })+
        }
    };
}

conformance!(
    a_new_volume_has_its_shape_and_reads_as_zero,
    existing_names_are_not_taken_over,
    missing_volumes_are_none_and_names_are_sorted,
    striping_is_refused,
    snapshots_are_listed_oldest_first_with_growing_ids,
    a_volume_made_again_under_one_name_is_refused,
    a_snapshot_made_again_under_one_name_is_refused,
    a_base_comes_back_bit_identical,
    increments_with_every_change_come_back_bit_identical,
    an_increment_without_changes_is_empty,
    a_torn_import_is_an_error,
    an_import_beyond_the_size_or_of_rubbish_is_an_error,
    deleting_a_volume_asks_for_its_identity,
    a_renamed_volume_is_the_same_one_and_takes_no_name,
    protected_snapshots_stay,
    a_clone_is_exported_with_its_parents_data,
    open_volumes_are_not_touched,
    an_export_of_a_vanished_base_is_an_error,
    a_killed_transfer_is_an_error,
    a_rollback_brings_content_and_size_back,
    wrong_object_maps_are_reported,
    space_is_told,
    blocks_are_those_of_the_snapshot,
    blocks_of_a_clone_show_its_parent,
    blocks_of_another_snapshot_do_not_count,
);

/// All that the suite holds.
mod contract {
    pub use crate::blocks::*;
    pub use crate::suite::*;
}

/// Runs a test and removes its volumes also when it failed.
async fn swept<F>(site: Site, test: impl FnOnce(Site) -> F)
where
    F: Future<Output = ()> + Send + 'static,
{
    let result = tokio::spawn(test(site.clone())).await;
    site.sweep().await;
    if let Err(failure) = result {
        std::panic::resume_unwind(failure.into_panic());
    }
}

fn lab_cluster(test: &str) -> Option<PathBuf> {
    let conf = std::env::var_os("PVE_FERRY_LAB_CEPH_CONF").map(PathBuf::from);
    if conf.is_none() {
        eprintln!("SKIPPED on real Ceph: {test}: PVE_FERRY_LAB_CEPH_CONF names no cluster");
    }
    conf
}
