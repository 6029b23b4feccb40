//! Proxmox VE as it stands on a node: its files, its configurations, its commands. Not for
//! volumes: what is on a storage, only the storage driver knows.
//!
//! The parsers here are pure and lossless. The files are read and written with plain std;
//! commands go through `transport`.

pub mod api;
mod candidates;
pub mod ceph_access;

pub mod control;

mod exclusive;
pub mod files;

pub mod jobs_cfg;
pub mod members;
pub mod named_volumes;
pub mod our_files;

pub mod resources;

pub mod section_config;
pub mod storage_cfg;
pub mod user_cfg;

pub use crate::pve_config::{
    ConfigVolume, GuestConfig, Inclusion, MacPrefix, PropertyString, config_volume, datacenter_cfg,
    guest_config, is_exclusion, property_string,
};
pub use ceph_access::{CephAccess, ceph_access};
pub use control::{ControlError, FreezeStatus, GuestControl, GuestStatus, answered_count};

pub use files::{ClusterFiles, FilesError};

pub use jobs_cfg::JobsCfg;
pub use named_volumes::NamedVolumes;
pub use our_files::{OurFiles, OurFilesError};

pub use storage_cfg::{RbdSection, StorageCfg};
