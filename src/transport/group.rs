//! The process group of a child, as long as its number is surely the child's. Not for starting one.

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

/// The process group whose leader is the started process; dropped, it is killed.
///
/// The kernel keeps the number for the group as long as the leader was not waited for: whoever waited
/// forgets the group, so that a number that belongs to somebody else by now is never signalled.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Group(Option<u32>);

impl Group {
    /// The group of the process with this number; none when it was waited for already.
    pub fn led_by(leader: Option<u32>) -> Self {
        Self(leader)
    }

    /// Kills all that is in it.
    pub fn kill(&self) {
        let Some(leader) = self.0.and_then(|id| i32::try_from(id).ok()) else { return };
        // It may be gone already, which is what we want.
        let _ = killpg(Pid::from_raw(leader), Signal::SIGKILL);
    }

    /// Its leader was waited for: what it left in the background is its own affair.
    pub fn forget(&mut self) {
        self.0 = None;
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.kill();
    }
}
