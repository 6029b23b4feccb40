//! The backup directory: images, points, locks. It knows no storage and no cluster.

pub mod image;
