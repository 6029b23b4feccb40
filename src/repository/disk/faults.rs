//! What may go wrong with a file system, so that tests can let any operation fail. Not for what an
//! operation does: that is in `mod.rs`.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};

/// What happens at the chosen write operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// ENOSPC; of a write, the first half has arrived.
    NoSpace,
    /// EIO; of a write, the first half has arrived.
    Io,
    /// This and every later operation, reads too, fail with EIO: the server is gone.
    Vanish,
    /// This and every later write operation fail with EROFS; reads go on.
    ReadOnly,
    /// The operation is done and yet reported as EIO: the answer of an NFS server was lost.
    LostReply,
    /// Nothing ever fails, but whoever looks at a file hears that it is not there: an NFS
    /// client remembers that of names that another host has made since.
    StaleNames,
    /// Nothing ever fails, but a file that this process has open when it is removed stays in its
    /// directory under another name: NFS does so, until the last handle is closed.
    OpenFilesStay,
    /// Every write operation on the thread that made this value fails with EIO: on that one, which may
    /// have to thaw a guest, nobody must wait for a disk.
    OwnThread,
}

impl Fault {
    fn lasts(self) -> bool {
        matches!(self, Self::Vanish | Self::ReadOnly)
    }

    pub(super) fn error(self) -> io::Error {
        io::Error::from_raw_os_error(match self {
            Self::NoSpace => nix::libc::ENOSPC,
            Self::ReadOnly => nix::libc::EROFS,
            _ => nix::libc::EIO,
        })
    }

    /// How many of the `length` bytes of a write arrive when this happens to it.
    pub(super) fn arrives(self, length: usize) -> usize {
        match self {
            Self::LostReply => length,
            Self::ReadOnly => 0,
            _ => length / 2,
        }
    }
}

/// Counts write operations and chooses the one that fails.
#[derive(Debug)]
pub(super) struct Faults {
    pub(super) at: u64,
    pub(super) fault: Fault,
    pub(super) count: AtomicU64,
    /// The thread that made this value.
    pub(super) thread: std::thread::ThreadId,
}

impl Faults {
    /// Counts one write operation and says what shall happen to it.
    pub(super) fn next(&self) -> Option<Fault> {
        let n = self.count.fetch_add(1, Ordering::SeqCst);
        if self.fault == Fault::OwnThread {
            return (std::thread::current().id() == self.thread).then_some(self.fault);
        }
        let fails = !matches!(self.fault, Fault::StaleNames | Fault::OpenFilesStay);
        let hit = fails && (n == self.at || (n > self.at && self.fault.lasts()));
        hit.then_some(self.fault)
    }

    pub(super) fn vanished(&self) -> bool {
        self.fault == Fault::Vanish && self.count.load(Ordering::SeqCst) > self.at
    }
}
