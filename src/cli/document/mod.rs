//! The JSON documents that commands print with `--json`, as types: what is printed is what their
//! schemas say. Not the report of a run: that is `report.rs`'s, and the plans of a dry run are
//! `cli/report.rs`'s.

#[cfg(test)]
#[path = "../../../tests/common/schema.rs"]
mod checker;
mod guests;
mod jobs;
mod points;
mod source;
mod verified;

pub use guests::{Coverage, CoveredGuest, ShownGuest, ShownGuests, StatusAnswer, Unknown};
pub use jobs::{CronFile, DamagedJob, JobDefinition, JobGuest, JobList, ListedJob};
pub use points::{
    BarcImage, BarcImageKind, BarcPoint, BarcWord, ListedImage, ListedPoint, Point, RestorePoints,
};
pub use source::{
    ComparedDisk, ComparedGuest, ComparedPoint, DifferingBlock, DiskStatus, SourceStatus,
    SourceVerification,
};
pub use verified::{Damage, Verification, VerifiedGuest, VerifiedStatus};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Label, Moment, Share};
    use crate::report::Status;
    use crate::schema::of_written;
    use serde_json::json;

    /// The fakes of the CLI tests have no blocks to compare; the lab's case 36 has.
    #[test]
    fn a_comparison_with_the_source_fits_its_schema() {
        let disk = |status, error: Option<&str>, differences: Option<Vec<DifferingBlock>>| {
            let known = error.is_none();
            ComparedDisk {
                disk: "scsi0".parse().unwrap(),
                volume: "ceph:vm-100-disk-0".parse().unwrap(),
                status,
                error: error.map(str::to_owned),
                bytes: known.then_some(8),
                blocks: known.then_some(2),
                sizes: known.then_some(None),
                differences,
            }
        };
        let block = DifferingBlock {
            offset: 4,
            length: 2,
            source: "blake3:0".into(),
            stored: "blake3:1".into(),
        };
        let point = ComparedPoint {
            label: "daily".parse::<Label>().unwrap(),
            time: Moment::from_unix(0),
            share: Share::ALL,
            disks: vec![
                disk(DiskStatus::Ok, None, Some(vec![])),
                disk(DiskStatus::Differs, None, Some(vec![block])),
                disk(DiskStatus::NotCompared, Some("gone"), None),
            ],
        };
        let guest = |status, error: Option<&str>, points| ComparedGuest {
            vmid: "100".parse().unwrap(),
            directory: "d".into(),
            status,
            error: error.map(str::to_owned),
            points,
            unnoted: None,
        };
        let document = SourceVerification {
            operation: "verify",
            source: true,
            status: Status::Partial,
            guests: vec![
                guest(SourceStatus::Differs, None, Some(vec![point])),
                guest(SourceStatus::Failed, Some("locked"), None),
            ],
            not_found: vec!["999".to_owned()],
        };
        let value = serde_json::to_value(&document).unwrap();
        let schema = of_written::<SourceVerification>();
        assert_eq!(checker::check(&schema, &value), Ok(()));
        let disks = &value["guests"][0]["points"][0]["disks"];
        assert_eq!(
            (&disks[0]["sizes"], &disks[2]["status"]),
            (&json!(null), &json!("not-compared"))
        );
        assert!(disks[2].get("sizes").is_none());
    }

    #[test]
    fn the_checker_finds_what_does_not_fit() {
        let schema = of_written::<StatusAnswer>();
        let good = json!({"status": "unknown", "error": "x"});
        assert_eq!(checker::check(&schema, &good), Ok(()));
        for wrong in [
            json!({"status": "unknown"}),
            json!({"status": "maybe", "error": "x"}),
            json!({"status": "unknown", "error": 1}),
            json!({"status": "unknown", "error": "x", "colour": "red"}),
            json!({"status": "ok", "guests": [{"vmid": 100}], "problems": []}),
            json!([]),
        ] {
            assert!(checker::check(&schema, &wrong).is_err(), "{wrong}");
        }
    }
}
