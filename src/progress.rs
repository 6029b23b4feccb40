//! How far long work is: told to whoever shows it. Shows nothing itself.

use std::sync::Arc;

/// Shows how far several pieces of long work are.
pub trait Progress: Send + Sync {
    /// A piece of work of about `total` bytes begins.
    fn begin(&self, what: &str, total: u64) -> Arc<dyn Meter>;
    /// One past-tense line about a change to the world.
    fn note(&self, line: &str);
}

/// One piece of work.
pub trait Meter: Send + Sync {
    /// So many more bytes are done.
    fn add(&self, bytes: u64);
    /// The piece is done, or has failed.
    fn end(&self);
}

/// Shows nothing.
pub struct Silent;

impl Progress for Silent {
    fn begin(&self, _what: &str, _total: u64) -> Arc<dyn Meter> {
        Arc::new(Silent)
    }
    fn note(&self, _line: &str) {}
}

impl Meter for Silent {
    fn add(&self, _bytes: u64) {}
    fn end(&self) {}
}
