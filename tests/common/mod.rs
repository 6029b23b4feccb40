//! A small cluster in memory and on a temporary directory, for tests that run whole operations
//! through the library: guests, one storage, nodes that answer, a clock. Starts no process.

// A helper of a test may fail as loudly as the test itself, and not every test uses all of them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, dead_code, unused_imports)]

mod events;
mod guard;
mod lab;
mod link;
mod model;
mod node;
mod run;
mod sites;

pub use events::Notes;
pub use lab::{FOREIGN, Lab, VMID, block_on, block_on_real_time};
pub use link::{End, Link, LinkFault, Way};
pub use model::read_chain;
pub use node::CommandFault;
pub use run::{Backup, Restore};
pub use sites::Sites;
