//! Decides on a repair: what of a guest's stored points is put back or made again, and what cannot
//! be. Pure; nothing that it plans takes anything away.

use super::{Action, Item, OnFailure, Plan, PointAction, Step, failure};
use crate::model::{Guest, Label, Moment, PointId, counted};

/// One thing that is put back or made again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mend {
    /// The manifest of a point, once all its images were read.
    Manifest {
        /// The point's directory, relative to the guest's.
        directory: String,
    },
    /// The index of an image, by reading the image.
    Index {
        /// The image file, relative to the guest's directory.
        file: String,
        /// What becomes of the image if it turns out to be damaged.
        if_damaged: IfDamaged,
    },
    /// The attributes of a point.
    Attributes {
        /// The point's directory, relative to the guest's.
        directory: String,
        /// The point.
        point: PointId,
    },
    /// guest.json.
    GuestRecord,
    /// The sealed copies of manifests.
    SealedCopies {
        /// Whose.
        points: Vec<PointId>,
    },
    /// Nothing is left of a point but its sealed copies: they go.
    ForgetGone {
        /// The point.
        point: PointId,
        /// Its label.
        label: Label,
        /// Its moment.
        moment: Moment,
    },
}

/// What becomes of an image that turns out to be damaged when its index is made again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IfDamaged {
    /// It stays as it is, and the step fails.
    Fails,
    /// It is marked, and the guest is surveyed again, so that no increment follows it. An index that
    /// only cannot be written keeps none from following.
    IsMarked,
}

impl Mend {
    /// Verb and object, as a printed plan shows them.
    pub(super) fn words(&self) -> (&'static str, String) {
        match self {
            Self::Manifest { directory } => ("put manifest back", directory.clone()),
            Self::Index { file, .. } => ("rebuild index", format!("of {file}")),
            Self::Attributes { directory, .. } => ("write attributes", directory.clone()),
            Self::GuestRecord => ("write guest.json", String::new()),
            Self::SealedCopies { points } => {
                ("write sealed copies", format!("of {}", counted(points.len(), "manifest")))
            }
            Self::ForgetGone { label, moment, .. } => {
                ("forget gone point", format!("{label} {moment}"))
            }
        }
    }

    fn because(self, reason: impl Into<String>) -> Step {
        Action::Point(PointAction::Mend(self)).because(reason)
    }
}

/// A restore point whose manifest is missing or damaged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LostManifest {
    /// The point's directory, relative to the guest's.
    pub directory: String,
    /// What is wrong with the manifest.
    pub what: String,
    /// Why there is nothing to put back; `None` when there is.
    pub without_source: Option<String>,
}

/// A point's attributes that are missing or damaged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LostAttributes {
    /// The point's directory, relative to the guest's.
    pub directory: String,
    /// The point.
    pub point: PointId,
    /// Whether a whole sealed copy tells what they said.
    pub has_copy: bool,
}

/// A point of which nothing but its sealed copy is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GonePoint {
    /// The point.
    pub point: PointId,
    /// Its label.
    pub label: Label,
    /// Its moment.
    pub moment: Moment,
}

/// All that the repair of a guest's points depends on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RepairFacts {
    /// The guest.
    pub guest: Guest,
    /// Manifests that may be put back.
    pub manifests: Vec<LostManifest>,
    /// Images whose index is missing, damaged or another image's, relative to the guest's directory.
    pub indexes: Vec<String>,
    /// Attributes that may be put back.
    pub attributes: Vec<LostAttributes>,
    /// Whether guest.json is missing or damaged, and whether a whole sealed copy tells what it said.
    pub record: Option<RecordSource>,
    /// Points whose sealed copy is missing, damaged or not up to date.
    pub copies: Vec<PointId>,
    /// Points that are gone.
    pub gone: Vec<GonePoint>,
    /// What needs an image that no readable point holds, if something does.
    pub broken: Option<String>,
    /// Whatever else is damaged or missing: nothing here makes it again.
    pub beyond: Vec<String>,
}

/// What a lost guest.json is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RecordSource {
    /// Its sealed copy.
    Copy,
    /// The points that are there.
    Points,
}

/// Plans the repair of one guest's points, without what this run has tried in vain. What cannot be
/// mended stands in `not_whole`.
pub fn plan(facts: &RepairFacts, tried: &[Action]) -> Plan {
    let steps = manifests(facts)
        .chain(indexes(facts))
        .chain(attributes(facts))
        .chain(record(facts))
        .chain(copies(facts))
        .chain(forgotten(facts))
        .filter(|step| !tried.contains(&step.action));
    let mut items: Vec<Item> = steps.map(Item::Step).collect();
    failure::all(&mut items, OnFailure::TRY);
    Plan {
        not_whole: beyond_repair(facts),
        if_interrupted: "nothing is half",
        ..Plan::new(facts.guest.clone(), items)
    }
}

/// Why a guest is not repaired when all of this stays damaged; none when nothing does.
pub fn unmended(damaged: &[String]) -> Option<String> {
    let text = || {
        format!(
            "cannot be mended: {}; the points that need it can be removed with `delete`, the newest first, and \
             then a directory without a manifest by hand",
            damaged.join("; ")
        )
    };
    (!damaged.is_empty()).then(text)
}

fn manifests(facts: &RepairFacts) -> impl Iterator<Item = Step> {
    let with_source = facts.manifests.iter().filter(|lost| lost.without_source.is_none());
    with_source.map(|lost| {
        let action = Mend::Manifest { directory: lost.directory.clone() };
        action.because(lost.what.clone())
    })
}

fn indexes(facts: &RepairFacts) -> impl Iterator<Item = Step> {
    facts.indexes.iter().map(|file| {
        let action = Mend::Index { file: file.clone(), if_damaged: IfDamaged::Fails };
        action.because("it is missing or damaged")
    })
}

fn attributes(facts: &RepairFacts) -> impl Iterator<Item = Step> {
    facts.attributes.iter().map(|lost| {
        let (directory, point) = (lost.directory.clone(), lost.point);
        let action = Mend::Attributes { directory, point };
        action.because(match lost.has_copy {
            true => "their sealed copy is whole",
            false => "nobody knows what they said: the point is protected, and its notes are lost",
        })
    })
}

fn record(facts: &RepairFacts) -> impl Iterator<Item = Step> {
    facts.record.into_iter().map(|source| {
        Mend::GuestRecord.because(match source {
            RecordSource::Copy => "its sealed copy is whole",
            RecordSource::Points => "what it said follows from the points",
        })
    })
}

fn copies(facts: &RepairFacts) -> impl Iterator<Item = Step> {
    let points = facts.copies.clone();
    let action = (!points.is_empty()).then_some(Mend::SealedCopies { points });
    action.map(|action| action.because("they are missing or not up to date")).into_iter()
}

/// A point that is gone with its directory is forgotten, unless something needs it still: whoever
/// brings the directory back brings the point back.
fn forgotten(facts: &RepairFacts) -> impl Iterator<Item = Step> {
    let gone = facts.gone.iter().filter(|_| facts.broken.is_none());
    gone.map(|gone| {
        let GonePoint { point, label, moment } = gone.clone();
        let action = Mend::ForgetGone { point, label, moment };
        action.because("its directory is gone, and nothing needs it")
    })
}

fn beyond_repair(facts: &RepairFacts) -> Vec<String> {
    let lost = facts.manifests.iter().filter_map(|lost| {
        let why = lost.without_source.as_ref()?;
        Some(format!("{}: its manifest is lost ({}), and {why}", lost.directory, lost.what))
    });
    let needed = facts.gone.iter().filter(|_| facts.broken.is_some()).map(|gone| {
        format!("{} {}: it is gone with its directory, and may be needed", gone.label, gone.moment)
    });
    let mut beyond: Vec<String> = lost.chain(needed).collect();
    // While a manifest may come back, so may what it holds.
    let may_come_back = facts.manifests.iter().any(|lost| lost.without_source.is_none());
    beyond.extend(facts.broken.clone().filter(|_| !may_come_back));
    beyond.extend(facts.beyond.iter().cloned());
    beyond
}
