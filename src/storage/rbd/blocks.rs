//! An image's snapshot read object by object, below librbd. Does not look at object maps, at diffs
//! or at the image's present content; a list of the pool's objects only says which ones can be there
//! (see [`super::listing`]).
//!
//! How an image lies in its objects is part of RBD's format (doc/dev/file-striping, rbd-layering):
//! object `<prefix>.<number, 16 hex>` holds the stripe units of its number; one that is not there
//! reads as the parent up to the overlap, and else as zero; one that is shorter ends in zeros.

use super::config::PATIENCE;
use super::connection::Connection;
use super::librados::{Cluster, Failure, PoolAt};
use super::listing::{self, Wanted};
use super::{JSON, Rbd, RbdConfig, answers, at};
use crate::model::SnapshotIdentity;
use crate::storage::blocks::{Blocks, Source};
use crate::storage::{Result, StorageError, own_name};
use std::ops::Range;
use std::sync::Arc;

/// The objects of a snapshot.
#[derive(Debug)]
pub(in crate::storage) struct Objects {
    rbd: Rbd,
    volume: String,
    own: SnapshotIdentity,
    layer: Layer,
}

/// An image in one of its snapshots, and what lies below it.
#[derive(Debug)]
struct Layer {
    pool: PoolAt,
    prefix: String,
    layout: Layout,
    /// The parent, and up to where it shows.
    parent: Option<(u64, Box<Layer>)>,
}

/// How bytes are dealt to objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Layout {
    object_size: u64,
    stripe_unit: u64,
    stripe_count: u64,
}

/// Clones of clones of clones: more of them is a circle.
const DEEPEST: usize = 16;

pub(super) async fn blocks(rbd: &Rbd, volume: &str, own: &SnapshotIdentity) -> Result<Blocks> {
    let object = rbd.object(&at(volume, &own.name));
    let facts = rbd.require(volume).await?;
    let size = facts.find(&object, own)?.size;
    let failed = |why: Box<dyn std::error::Error + Send + Sync>| StorageError::Read {
        object: object.clone(),
        source: why,
    };
    if rbd.0.host.is_remote() {
        return Err(failed("its objects can be read on a node of its cluster only".into()));
    }
    let stack = stack(rbd, (own_name(volume), &own.name)).await?;
    let stack: Vec<Plan> = stack
        .into_iter()
        .collect::<std::result::Result<_, _>>()
        .map_err(|why: String| failed(why.into()))?;
    let block_size = stack.first().map_or(4 << 20, |plan| plan.layout.object_size);
    let login = rbd.0.config.connection();
    let opened = tokio::task::spawn_blocking(move || open(&login, stack)).await;
    let layer =
        opened.map_err(|error| failed(error.into()))?.map_err(|error| failed(error.into()))?;
    let (rbd, volume, own) = (rbd.clone(), volume.to_owned(), own.clone());
    let source = Source::Rbd(Box::new(Objects { rbd, volume, own, layer }));
    Ok(Blocks { size, block_size, source })
}

impl Objects {
    /// Fills a buffer of zeros, and says whether an object was there: also one of zeros is.
    pub(in crate::storage) fn read(&self, offset: u64, buffer: &mut [u8]) -> Result<bool> {
        self.layer.read(offset, buffer).map_err(|error| StorageError::Read {
            object: self.rbd.object(&at(&self.volume, &self.own.name)),
            source: error.into(),
        })
    }

    /// The bytes that any object of the image or of its parents can hold, in any order; as
    /// [`Blocks::listed`].
    pub(in crate::storage) fn listed(
        &self,
        asked: u64,
        go_on: &dyn Fn() -> bool,
    ) -> Option<Vec<Range<u64>>> {
        let stack = self.layer.stack();
        let wanted: Vec<Wanted> =
            stack.iter().map(|layer| Wanted { pool: &layer.pool, prefix: &layer.prefix }).collect();
        let numbers = listing::numbers(&wanted, asked, go_on)?;
        let shapes = stack.iter().map(|layer| (layer.layout, layer.overlap()));
        Some(extents(shapes.zip(numbers)))
    }

    /// Numbers are never given again, so if the snapshot is still there, it was all the time.
    pub(in crate::storage) async fn finish(&self) -> Result<()> {
        let facts = self.rbd.require(&self.volume).await?;
        facts.find(&self.rbd.object(&at(&self.volume, &self.own.name)), &self.own).map(drop)
    }
}

/// What a layer is opened from.
struct Plan {
    pool: String,
    namespace: String,
    snapshot: u64,
    prefix: String,
    layout: Layout,
    /// Up to where the next one shows.
    overlap: u64,
}

type Planned = std::result::Result<Plan, String>;

/// The image and its parents, topmost first.
async fn stack(rbd: &Rbd, (image, snapshot): (&str, &str)) -> Result<Vec<Planned>> {
    let (mut stack, mut rbd) = (Vec::new(), rbd.clone());
    let (mut image, mut snapshot) = (image.to_owned(), snapshot.to_owned());
    while stack.len() < DEEPEST {
        let deed = super::Deed::reading(&rbd, &at(&image, &snapshot));
        let info = rbd.read(rbd.on_snapshot(&["info"], &image, &snapshot).args(JSON), deed).await?;
        let info = answers::info(&info.stdout, &rbd.object(&image))?;
        let facts = rbd.require(&image).await?;
        let found = facts.snapshot(&snapshot).and_then(|s| s.identity.snapshot.parse().ok());
        let config = &rbd.0.config;
        stack.push(plan(config, &info, found));
        let Some(parent) = info.parent else { return Ok(stack) };
        let config =
            RbdConfig { pool: parent.pool, namespace: parent.pool_namespace, ..config.clone() };
        rbd = Rbd::new(config, rbd.0.host.clone());
        (image, snapshot) = (parent.image, parent.snapshot);
    }
    stack.push(Err(format!("it has more than {DEEPEST} parents")));
    Ok(stack)
}

fn plan(config: &RbdConfig, info: &answers::Info, snapshot: Option<u64>) -> Planned {
    if !info.block_name_prefix.starts_with("rbd_data.") {
        return Err(format!("objects named {}.* are not known", info.block_name_prefix));
    }
    if info.is_migrating() {
        return Err("it is being migrated".to_owned());
    }
    Ok(Plan {
        pool: info.data_pool.clone().unwrap_or_else(|| config.pool.clone()),
        namespace: config.namespace.clone(),
        snapshot: snapshot.ok_or("a snapshot that it depends on is not listed")?,
        prefix: info.block_name_prefix.clone(),
        layout: Layout {
            object_size: info.object_size,
            stripe_unit: info.stripe_unit.unwrap_or(info.object_size),
            stripe_count: info.stripe_count.unwrap_or(1),
        },
        overlap: info.parent.as_ref().map_or(0, |parent| parent.overlap),
    })
}

/// Opens the layers from the lowest one up.
fn open(login: &Connection, stack: Vec<Plan>) -> std::result::Result<Layer, Failure> {
    let cluster = Cluster::connect(login, PATIENCE)?;
    let mut below: Option<Layer> = None;
    for plan in stack.into_iter().rev() {
        below = Some(layer(&cluster, plan, below)?);
    }
    below.ok_or_else(Failure::nothing)
}

fn layer(
    cluster: &Arc<Cluster>,
    plan: Plan,
    below: Option<Layer>,
) -> std::result::Result<Layer, Failure> {
    let pool = cluster.pool(&plan.pool, &plan.namespace, plan.snapshot)?;
    let parent = below.map(|layer| (plan.overlap, Box::new(layer)));
    Ok(Layer { pool, prefix: plan.prefix, layout: plan.layout, parent })
}

/// Where the objects of a stack of layers lie, topmost first: each with its layout, and up to where the
/// one below shows.
fn extents(stack: impl Iterator<Item = ((Layout, u64), Vec<u64>)>) -> Vec<Range<u64>> {
    let (mut shown, mut extents) = (u64::MAX, Vec::new());
    for ((layout, overlap), numbers) in stack {
        let found = numbers.into_iter().map(|number| layout.extent(number));
        extents.extend(found.filter(|extent| extent.start < shown));
        shown = shown.min(overlap);
    }
    extents
}

impl Layer {
    /// It and the layers below it.
    fn stack(&self) -> Vec<&Self> {
        std::iter::successors(Some(self), |layer| layer.below()).collect()
    }

    fn below(&self) -> Option<&Self> {
        self.parent.as_ref().map(|(_, parent)| parent.as_ref())
    }

    fn overlap(&self) -> u64 {
        self.parent.as_ref().map_or(0, |(overlap, _)| *overlap)
    }

    /// Fills a buffer of zeros, and says whether anything was there to fill it from.
    fn read(&self, mut offset: u64, mut buffer: &mut [u8]) -> std::result::Result<bool, Failure> {
        let mut is_there = false;
        while !buffer.is_empty() {
            let (number, inside, room) = self.layout.place(offset);
            let length = usize::try_from(room).unwrap_or(usize::MAX).min(buffer.len());
            let (piece, rest) = buffer.split_at_mut(length);
            let object = format!("{}.{number:016x}", self.prefix);
            is_there |= match self.pool.read(&object, inside, piece)? {
                Some(_) => true,
                None => self.read_parent(offset, piece)?,
            };
            offset += length as u64;
            buffer = rest;
        }
        Ok(is_there)
    }

    fn read_parent(&self, offset: u64, piece: &mut [u8]) -> std::result::Result<bool, Failure> {
        let Some((overlap, parent)) = &self.parent else { return Ok(false) };
        let shown = overlap.saturating_sub(offset).min(piece.len() as u64);
        let shown = usize::try_from(shown).unwrap_or(piece.len());
        parent.read(offset, &mut piece[..shown])
    }
}

impl Layout {
    /// The object that holds a byte, where in it, and how many bytes of the volume follow there.
    fn place(self, offset: u64) -> (u64, u64, u64) {
        let unit = self.stripe_unit.clamp(1, self.object_size.max(1));
        let per_object = (self.object_size / unit).max(1);
        let count = self.stripe_count.max(1);
        let (block, within) = (offset / unit, offset % unit);
        let (stripe, position) = (block / count, block % count);
        let number = stripe / per_object * count + position;
        let inside = stripe % per_object * unit + within;
        // Without striping, units that follow each other in an object do so in the volume.
        let room = if count == 1 { per_object * unit - inside } else { unit - within };
        (number, inside, room)
    }

    /// The part of the volume that holds an object's bytes: of striped objects that of their whole set.
    fn extent(self, number: u64) -> Range<u64> {
        let unit = self.stripe_unit.clamp(1, self.object_size.max(1));
        let per_object = (self.object_size / unit).max(1);
        let count = self.stripe_count.max(1);
        let length = per_object.saturating_mul(unit).saturating_mul(count);
        let start = (number / count).saturating_mul(length);
        start..start.saturating_add(length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_dealt_to_objects_one_after_the_other() {
        let plain = Layout { object_size: 4 << 20, stripe_unit: 4 << 20, stripe_count: 1 };
        assert_eq!(plain.place(0), (0, 0, 4 << 20));
        assert_eq!(plain.place((8 << 20) + 5), (2, 5, (4 << 20) - 5));
        let fine = Layout { stripe_unit: 65_536, ..plain };
        assert_eq!(fine.place((4 << 20) + 70_000), (1, 70_000, (4 << 20) - 70_000));
    }

    #[test]
    fn striped_bytes_go_round_the_objects_of_a_set() {
        let striped = Layout { object_size: 4096, stripe_unit: 1024, stripe_count: 3 };
        assert_eq!(striped.place(0), (0, 0, 1024));
        assert_eq!(striped.place(1024), (1, 0, 1024));
        assert_eq!(striped.place(3 * 1024 + 7), (0, 1031, 1017));
        // The second set begins when three objects of 4096 bytes are full.
        assert_eq!(striped.place(3 * 4096), (3, 0, 1024));
        assert_eq!(striped.place(3 * 4096 + 2048), (5, 0, 1024));
    }

    #[test]
    fn an_object_lies_where_its_bytes_are_found() {
        let plain = Layout { object_size: 4096, stripe_unit: 4096, stripe_count: 1 };
        assert_eq!(plain.extent(3), 3 * 4096..4 * 4096);
        let striped = Layout { object_size: 4096, stripe_unit: 1024, stripe_count: 3 };
        for layout in [plain, Layout { stripe_unit: 1024, ..plain }, striped] {
            for offset in (0..100 * 1024).step_by(512) {
                let number = layout.place(offset).0;
                assert!(layout.extent(number).contains(&offset), "{layout:?} {offset} {number}");
            }
        }
        // A name that no image of ours can have is no panic.
        assert_eq!(plain.extent(u64::MAX), u64::MAX..u64::MAX);
    }

    #[test]
    fn objects_of_parents_are_listed_as_far_as_they_show() {
        let layout = Layout { object_size: 100, stripe_unit: 100, stripe_count: 1 };
        let large = Layout { object_size: 400, stripe_unit: 400, stripe_count: 1 };
        let stack = [
            ((layout, 250), vec![9, 0]),
            // Through 250 bytes no more is seen of the lowest, whatever this layer shows of it.
            ((layout, 900), vec![2, 3]),
            ((large, 0), vec![0, 1]),
        ];
        assert_eq!(extents(stack.into_iter()), [900..1000, 0..100, 200..300, 0..400]);
    }
}
