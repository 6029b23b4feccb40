//! The JSON documents: those that commands print, and those of a repository. Their types stand where
//! they are made.

use super::super::document::{
    JobDefinition, JobList, RestorePoints, ShownGuests, SourceVerification, StatusAnswer,
    Verification,
};
use super::super::report::Plans;
use super::super::snapshot_table::SnapshotRow;
use super::Format;
use super::page::{Block, Page, Row};
use crate::report::Report;
use crate::repository::{Attributes, GuestRecord, Holder, Manifest};
use crate::schema::{about, fields, forms, of_sealed, of_sealed_by_now, of_written};
use std::collections::BTreeSet;

/// Every JSON document.
pub fn documents() -> Vec<Format> {
    printed_documents().into_iter().chain(stored_documents()).collect()
}

fn printed_documents() -> Vec<Format> {
    let format = |name, place, schema| Format { name, place, schema };
    vec![
        format(
            "report",
            "Printed by `backup`, `restore`, `prune`, `repair`, `copy`, `reset`, `adopt`, `snapshot create`, `snapshot prune` and `snapshot rollback` with `--json`",
            of_written::<Report>(),
        ),
        format(
            "plans",
            "Printed by the same commands with `--dry-run --json`, when there is a plan",
            of_written::<Plans<'_>>(),
        ),
        format("list", "Printed by `list --json`", of_written::<RestorePoints>()),
        format("verify", "Printed by `verify --json`", of_written::<Verification>()),
        format(
            "verify-source",
            "Printed by `verify --source --json`",
            of_written::<SourceVerification>(),
        ),
        format(
            "snapshot-list",
            "Printed by `snapshot list --json`",
            of_written::<Vec<SnapshotRow>>(),
        ),
        format("show-guests", "Printed by `show guests --json`", of_written::<ShownGuests>()),
        format("job-list", "Printed by `job list --json`", of_written::<JobList>()),
        format("job-show", "Printed by `job show NAME --json`", of_written::<JobDefinition>()),
        format("status", "Printed by `status --json`", of_written::<StatusAnswer>()),
    ]
}

fn stored_documents() -> Vec<Format> {
    let format = |name, place, schema| Format { name, place, schema };
    vec![
        format(
            "repository-manifest",
            "In the directory of every restore point; with copies in `manifests/`",
            of_sealed::<Manifest>(),
        ),
        format(
            "repository-attributes",
            "In the directory of a restore point, beside the manifest",
            of_sealed_by_now::<Attributes>(),
        ),
        format(
            "repository-guest",
            "In the directory of every guest",
            of_sealed_by_now::<GuestRecord>(),
        ),
        format("repository-lock", "A file in `locks/` of a guest", of_written::<Holder>()),
    ]
}

/// The page of what commands print.
pub fn printed() -> Page {
    let intro = "What commands print with `--json`: one document on standard output, and nothing else there. Fields \
                 may be added by later versions, and are not taken away or changed. All moments are UTC; all sizes are \
                 bytes. A field of a list stands behind `[]`. The schemas for programs stand in \
                 `/usr/share/pve-ferry/schema/` (JSON Schema, draft 2020-12).";
    let blocks = blocks(intro, printed_documents());
    Page { name: "json", summary: "the JSON documents that pve-ferry prints", blocks }
}

/// The page of what stands in a repository.
pub fn stored() -> Page {
    let intro = "The JSON files of a repository of format 1, for whoever reads one without pve-ferry; the \
                 `RESTORE.txt` of each guest says how its volumes come back with stock tools. Below the directory that \
                 `--path` names: `pve-ferry/CLUSTER-ID/VMID-INCARNATION/LABEL/MOMENT/`. A restore point exists when \
                 its `manifest.json` does. A volume's content is its image and those before it along `parent`, to the \
                 one without. Fields of later versions are kept by this one. The schemas for programs stand in \
                 `/usr/share/pve-ferry/schema/` (JSON Schema, draft 2020-12).";
    let blocks = blocks(intro, stored_documents());
    Page { name: "repository", summary: "the JSON files of a repository of pve-ferry", blocks }
}

/// Objects that are those of another document, by the path of their fields: shown once.
const AS_ELSEWHERE: [(&str, &str, &str); 2] = [
    ("plans", "refused[].", "as `guests[]` of report"),
    ("repository-manifest", "images[].base_source.", "as `source`"),
];

fn rows(format: &Format) -> Vec<Row> {
    let elsewhere = AS_ELSEWHERE.iter().filter(|(name, ..)| *name == format.name);
    let elsewhere: Vec<_> = elsewhere.collect();
    let mut rows = Vec::new();
    for mut field in fields(&format.schema) {
        if elsewhere.iter().any(|(_, path, _)| field.path.starts_with(path)) {
            continue;
        }
        let head = |path: &str| path.trim_end_matches('.').trim_end_matches("[]") == field.path;
        if let Some((.., what)) = elsewhere.iter().find(|(_, path, _)| head(path)) {
            field.kind = format!("{}, {what}", field.kind);
        }
        rows.push(Row { name: field.path, kind: field.kind, meaning: field.meaning });
    }
    rows
}

fn blocks(intro: &str, documents: Vec<Format>) -> Vec<Block> {
    let mut blocks = vec![Block::Text(intro.to_owned())];
    let mut texts = BTreeSet::new();
    for format in documents {
        blocks.push(Block::Heading(format.name.to_owned()));
        let said = about(&format.schema);
        let said = if said.is_empty() { String::new() } else { format!("{said} ") };
        blocks.push(Block::Text(format!("{said}{}.", format.place)));
        texts.extend(forms(&format.schema));
        blocks.push(Block::Rows(rows(&format)));
    }
    blocks.push(Block::Heading("Forms of text".to_owned()));
    let row = |form: crate::schema::Form| Row {
        name: form.name,
        kind: String::new(),
        meaning: form.meaning,
    };
    blocks.push(Block::Rows(texts.into_iter().map(row).collect()));
    blocks
}
