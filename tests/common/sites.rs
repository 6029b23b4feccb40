//! Two clusters that know nothing of each other but a connection. What goes over it is the test's.

use super::lab::{Lab, block_on};
use pve_ferry::model::VolumeIdentity;

/// Two clusters with the same vmids, storage ids and volume names; nothing of them is the same thing.
pub struct Sites {
    /// Where runs start.
    pub home: Lab,
    /// The other one.
    pub far: Lab,
}

impl Sites {
    /// Two clusters without guests.
    pub fn new() -> Self {
        Self { home: Lab::of_cluster("home"), far: Lab::of_cluster("far") }
    }
}

impl Lab {
    /// What a volume of the first storage is.
    pub fn identity(&self, volume: &str) -> VolumeIdentity {
        block_on(self.driver().volume(volume)).unwrap().unwrap().identity
    }
}
