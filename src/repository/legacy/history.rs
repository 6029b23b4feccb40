//! The restore points of one guest and label, and which files make a disk of one. It reads names and
//! the beginnings of files; whether a file is whole, only opening its chain tells.

use super::super::disk::Disk;
use super::super::error::{About, RepositoryError};
use super::disks::{ConfigDisk, resolve};
use super::error::LegacyError;
use super::names::{DataName, FileName, moments};
use super::scan::{LegacyFormat, LegacyLink, scan, sums_beside, written_lengths};
use super::{ROOT, content};
use crate::model::{DiskKey, Moment, VmId, VolumeId};
use jiff::tz::TimeZone;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// The directory of one guest and label.
#[derive(Debug, Clone)]
pub struct LegacyDir {
    /// The guest's number.
    pub vmid: VmId,
    /// The label; the old tool took any text.
    pub label: String,
    /// Where it is.
    pub path: PathBuf,
    pub(super) disk: Disk,
    pub(super) zone: TimeZone,
}

/// What a directory holds.
#[derive(Debug, Clone)]
pub struct LegacyHistory {
    /// Where it is.
    pub directory: LegacyDir,
    /// The points, oldest first.
    pub points: Vec<LegacyPoint>,
    /// The names of files that interrupted merges left. They belong to no point.
    pub leftovers: Vec<String>,
}

/// What one run saved of the guest.
#[derive(Debug, Clone)]
pub struct LegacyPoint {
    /// The stamp in its files' names.
    pub stamp: String,
    /// The moment that the stamp means.
    pub time: Moment,
    /// Its data files.
    pub images: Vec<LegacyImage>,
    /// The guest's configuration as it was after the run.
    pub config: Option<String>,
    /// The guest's firewall file.
    pub firewall: Option<String>,
}

/// One data file.
#[derive(Debug, Clone)]
pub struct LegacyImage {
    /// `<pool>[.<namespace>].<image>` of its name.
    pub disk: String,
    /// The key in the guest's configuration, once [`LegacyHistory::resolve`] found it.
    pub key: Option<DiskKey>,
    /// The volume that it was, likewise.
    pub volume: Option<VolumeId>,
    /// What it holds; the reason when its beginning already shows that it is damaged.
    pub format: Result<LegacyFormat, String>,
    /// The volume's size in bytes, as far as it is known without reading the file.
    pub size: Option<u64>,
    /// The algorithms of the checksums beside it.
    pub sums: Vec<&'static str>,
    /// The file; its [`LegacyLink::format`] counts only when [`LegacyImage::format`] is one.
    pub link: LegacyLink,
}

impl LegacyImage {
    /// Whether it needs another file.
    pub fn is_increment(&self) -> bool {
        matches!(&self.format, Ok(LegacyFormat::Stream(header)) if header.from.is_some())
    }

    /// The size of the volume in bytes; the file is read where nothing else tells it.
    ///
    /// # Errors
    /// The file is damaged or cannot be read.
    pub fn measured_size(&self) -> Result<u64, super::super::image::ImageError> {
        match self.size {
            Some(size) => Ok(size),
            None => Ok(scan(&self.link, 0, &|_: u64| Ok(()))?.size),
        }
    }

    /// Whether a person means this disk: by its key, or as its file is named.
    pub fn is_called(&self, name: &str) -> bool {
        self.disk == name || self.key.as_ref().is_some_and(|key| key.as_str() == name)
    }

    /// What it is called to a person: its key where there is one.
    pub fn name(&self) -> String {
        self.key.as_ref().map_or_else(|| self.disk.clone(), ToString::to_string)
    }
}

impl LegacyDir {
    /// Its name to a person: `barc/<vmid>/<label>`.
    pub fn name(&self) -> String {
        format!("{ROOT}/{}/{}", self.vmid, self.label)
    }

    /// Reads what it holds.
    ///
    /// # Errors
    /// It cannot be listed, or a configuration cannot be read.
    pub fn load(&self) -> Result<LegacyHistory, RepositoryError> {
        let mut points: BTreeMap<String, LegacyPoint> = BTreeMap::new();
        let mut leftovers = Vec::new();
        for name in self.disk.names(&self.path).about("list", &self.path)? {
            match FileName::parse(&name) {
                FileName::Data(data) => {
                    let image = self.image(&name, &data)?;
                    if let Some(point) = self.point(&mut points, &data.stamp) {
                        point.images.extend(image);
                    }
                }
                FileName::Config(stamp) => {
                    let text = self.text(&name)?;
                    if let Some(point) = self.point(&mut points, &stamp) {
                        point.config = Some(text);
                    }
                }
                FileName::Firewall(stamp) => {
                    let text = self.text(&name)?;
                    if let Some(point) = self.point(&mut points, &stamp) {
                        point.firewall = Some(text);
                    }
                }
                FileName::Leftover => leftovers.push(name),
                FileName::Sidecar | FileName::Foreign => {}
            }
        }
        let mut points: Vec<LegacyPoint> = points.into_values().collect();
        // Firewall files were never deleted with their points.
        points.retain(|point| !point.images.is_empty() || point.config.is_some());
        let mut history = LegacyHistory { directory: self.clone(), points, leftovers };
        history.settle_doubled_hours();
        history.points.sort_by(|a, b| (a.time, &a.stamp).cmp(&(b.time, &b.stamp)));
        Ok(history)
    }

    fn text(&self, name: &str) -> Result<String, RepositoryError> {
        let path = self.path.join(name);
        let bytes = self.disk.read(&path).about("read", &path)?;
        Ok(crate::model::text_of(&bytes))
    }

    fn point<'a>(
        &self,
        points: &'a mut BTreeMap<String, LegacyPoint>,
        stamp: &str,
    ) -> Option<&'a mut LegacyPoint> {
        let [time, _] = moments(stamp, &self.zone)?;
        let empty = || LegacyPoint {
            stamp: stamp.to_owned(),
            time,
            images: Vec::new(),
            config: None,
            firewall: None,
        };
        Some(points.entry(stamp.to_owned()).or_insert_with(empty))
    }

    fn image(&self, name: &str, data: &DataName) -> Result<Option<LegacyImage>, RepositoryError> {
        let path = self.path.join(name);
        let facts = self.disk.facts(&path).about("look at", &path)?;
        let Some(facts) = facts.filter(std::fs::Metadata::is_file) else { return Ok(None) };
        let format = content::probe(&path, data.ends_compressed);
        let stored_bytes = facts.len();
        let written = written_lengths(&path).ok().and_then(|lengths| lengths.first().copied());
        let size = match &format {
            Ok(LegacyFormat::Stream(header)) => Some(header.size),
            Ok(LegacyFormat::Raw) if !data.ends_compressed => Some(stored_bytes),
            Ok(LegacyFormat::Raw) => written,
            Err(_) => None,
        };
        Ok(Some(LegacyImage {
            disk: data.disk.clone(),
            key: None,
            volume: None,
            size,
            sums: sums_beside(&path),
            link: LegacyLink {
                path,
                stored_bytes,
                format: format.clone().unwrap_or(LegacyFormat::Raw),
                to: self.snapshot(&data.stamp),
                configured_size: None,
                ends_compressed: data.ends_compressed,
            },
            format,
        }))
    }

    /// The name that the old tool gave to a snapshot.
    fn snapshot(&self, stamp: &str) -> String {
        format!("barc{}{stamp}", self.label)
    }
}

impl LegacyHistory {
    /// An increment in an hour that the zone has twice was made after what it continues, so that a
    /// point which seems to be older than that is of the second of these hours.
    fn settle_doubled_hours(&mut self) {
        // A parent may have to move first, so that one pass per link could be needed.
        for _ in 0..self.points.len() {
            let late: Vec<(usize, Moment)> = (0..self.points.len())
                .filter_map(|at| Some((at, self.later_reading(&self.points[at])?)))
                .collect();
            if late.is_empty() {
                return;
            }
            for (at, time) in late {
                self.points[at].time = time;
            }
        }
    }

    fn later_reading(&self, point: &LegacyPoint) -> Option<Moment> {
        let [_, later] = moments(&point.stamp, &self.directory.zone)?;
        if later == point.time {
            return None;
        }
        let parents: Vec<PathBuf> = point
            .images
            .iter()
            .filter_map(|image| self.parent(image))
            .map(|parent| parent.link.path.clone())
            .collect();
        let holds_parent = |other: &&LegacyPoint| {
            other.images.iter().any(|image| parents.contains(&image.link.path))
        };
        let newest = self.points.iter().filter(holds_parent).map(|point| point.time).max()?;
        (newest >= point.time).then_some(later)
    }

    /// Tells the images of each point their disks. A point whose configuration was deleted borrows the
    /// next newer one's, or else the next older one's, for the names only.
    pub fn resolve(&mut self, disks_of: impl Fn(&str) -> Vec<ConfigDisk>) {
        let configs: Vec<Option<Vec<ConfigDisk>>> =
            self.points.iter().map(|point| point.config.as_deref().map(&disks_of)).collect();
        for (at, point) in self.points.iter_mut().enumerate() {
            let newer = configs[at..].iter().flatten().next();
            let Some(disks) = newer.or_else(|| configs[..at].iter().rev().flatten().next()) else {
                continue;
            };
            let files: Vec<String> = point.images.iter().map(|image| image.disk.clone()).collect();
            let files: Vec<&str> = files.iter().map(String::as_str).collect();
            for (image, disk) in point.images.iter_mut().zip(resolve(&files, disks)) {
                let Some(disk) = disk else { continue };
                (image.key, image.volume) = (Some(disk.key.clone()), Some(disk.volume.clone()));
                image.link.configured_size = disk.size.filter(|_| point.config.is_some());
            }
            point.images.sort_by(|a, b| (&a.key, &a.disk).cmp(&(&b.key, &b.disk)));
        }
    }

    /// The files that together hold a disk of a point, the base first. `name` is its key, or what its
    /// file is called after.
    ///
    /// # Errors
    /// There is no such disk, or the files are no chain.
    pub fn chain_of(
        &self,
        point: &LegacyPoint,
        name: &str,
    ) -> Result<Vec<LegacyLink>, LegacyError> {
        let mut named = point.images.iter().filter(|image| image.is_called(name));
        let Some(image) = named.next() else {
            let held: Vec<String> = point.images.iter().map(LegacyImage::name).collect();
            return Err(LegacyError::NoSuchDisk {
                directory: self.directory.path.clone(),
                point: point.stamp.clone(),
                disk: name.to_owned(),
                held: if held.is_empty() { "none".into() } else { held.join(", ") },
            });
        };
        if let Some(other) = named.next() {
            let (first, second) = (image.link.path.clone(), other.link.path.clone());
            return Err(LegacyError::Twice { first, second });
        }
        self.chain_from(image)
    }

    /// The files that an image needs, the base first, and itself at last.
    ///
    /// # Errors
    /// As [`LegacyHistory::chain_of`].
    pub fn chain_from(&self, image: &LegacyImage) -> Result<Vec<LegacyLink>, LegacyError> {
        let mut links: Vec<LegacyLink> = Vec::new();
        let mut image = image;
        loop {
            let file = image.link.path.clone();
            if links.iter().any(|link| link.path == file) {
                return Err(LegacyError::Circle { file });
            }
            links.push(image.link.clone());
            match &image.format {
                Err(why) => return Err(LegacyError::Damaged { file, why: why.clone() }),
                Ok(LegacyFormat::Stream(header)) => match &header.from {
                    Some(from) => image = self.leading_to(from, image)?,
                    None => break,
                },
                Ok(LegacyFormat::Raw) => break,
            }
        }
        links.reverse();
        Ok(links)
    }

    /// The file that an image's stream starts from, when there is exactly one.
    pub(super) fn parent(&self, image: &LegacyImage) -> Option<&LegacyImage> {
        match &image.format {
            Ok(LegacyFormat::Stream(header)) => {
                header.from.as_ref().and_then(|from| self.leading_to(from, image).ok())
            }
            _ => None,
        }
    }

    /// The file of the same disk that was made from a snapshot. Order by name or by clock is not
    /// asked: both go back when a zone leaves summer time.
    fn leading_to(&self, from: &str, child: &LegacyImage) -> Result<&LegacyImage, LegacyError> {
        let images = self.points.iter().flat_map(|point| &point.images);
        let mut found = images.filter(|image| image.disk == child.disk && image.link.to == from);
        let missing =
            || LegacyError::MissingParent { file: child.link.path.clone(), from: from.to_owned() };
        let parent = found.next().ok_or_else(missing)?;
        match found.next() {
            Some(other) => Err(LegacyError::Twice {
                first: parent.link.path.clone(),
                second: other.link.path.clone(),
            }),
            None => Ok(parent),
        }
    }
}
