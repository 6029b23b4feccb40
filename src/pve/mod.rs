//! Proxmox VE as it stands on a node: its files, its configurations, its commands. Not for
//! volumes: what is on a storage, only the storage driver knows.
//!
//! The parsers here are pure and lossless. The files are read and written with plain std;
//! commands go through `transport`.

pub mod api;
mod candidates;
pub mod ceph_access;
pub mod config_volume;
pub mod control;
pub mod datacenter_cfg;
mod exclusive;
pub mod files;
pub mod guest_config;
pub mod jobs_cfg;
pub mod members;
pub mod named_volumes;
pub mod our_files;
pub mod property_string;
pub mod resources;
pub mod restore_config;
pub mod section_config;
pub mod storage_cfg;
pub mod user_cfg;

pub use ceph_access::{CephAccess, ceph_access};
pub use config_volume::{ConfigVolume, Inclusion, is_exclusion};
pub use control::{ControlError, FreezeStatus, GuestControl, GuestStatus, answered_count};
pub use datacenter_cfg::MacPrefix;
pub use files::{ClusterFiles, FilesError};
pub use guest_config::GuestConfig;
pub use jobs_cfg::JobsCfg;
pub use named_volumes::NamedVolumes;
pub use our_files::{OurFiles, OurFilesError};
pub use property_string::PropertyString;
pub use restore_config::{Identity, Restoration, RestoredVolume, parse_size, restored_config};
pub use storage_cfg::{RbdSection, StorageCfg};
