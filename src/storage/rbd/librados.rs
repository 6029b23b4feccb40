//! Asks a Ceph cluster who it is and how full, through its own client library. Not for volumes:
//! those are `rbd`'s.
//!
//! `ceph fsid` and `ceph df` are Python programs that take a third of a second to start, each; this
//! takes a tenth of one of them. The library is opened at run time, so that nothing of Ceph is
//! needed to build or to start us, and always in a process of its own (`pve-ferry ask-ceph`), as
//! PVE's own `PVE::RADOS` does: it brings threads with it, and it ends the process when it finds
//! itself broken. Functions and constants: `rados/librados.h` of Ceph 16 to 20, unchanged in them.
#![allow(unsafe_code)]

use super::connection::Connection;
use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::ptr;

type Cluster = *mut c_void;
type Create = unsafe extern "C" fn(*mut Cluster, *const c_char, *const c_char, u64) -> c_int;
type WithText = unsafe extern "C" fn(Cluster, *const c_char) -> c_int;
type WithTwoTexts = unsafe extern "C" fn(Cluster, *const c_char, *const c_char) -> c_int;
type OnCluster = unsafe extern "C" fn(Cluster) -> c_int;
type Shutdown = unsafe extern "C" fn(Cluster);
type Fsid = unsafe extern "C" fn(Cluster, *mut c_char, usize) -> c_int;
type Free = unsafe extern "C" fn(*mut c_char);
type MonCommand = unsafe extern "C" fn(
    Cluster,
    *mut *const c_char,
    usize,
    *const c_char,
    usize,
    *mut *mut c_char,
    *mut usize,
    *mut *mut c_char,
    *mut usize,
) -> c_int;

/// Why the library gave no answer. The caller asks the `ceph` program then, which says more.
#[derive(Debug, thiserror::Error)]
pub enum NoAnswer {
    /// It is not installed, or not the one we know.
    #[error("librados.so.2 cannot be used: {0}")]
    Library(String),
    /// It refused.
    #[error("librados refused to {doing} (errno {errno})")]
    Refused {
        /// What it was to do.
        doing: &'static str,
        /// The number, as errno.
        errno: i32,
    },
    /// A name with a null byte in it.
    #[error(transparent)]
    Text(#[from] std::ffi::NulError),
}

/// The answer of `ceph df --format json` with the cluster's `fsid` beside its pools.
///
/// # Errors
/// The library is not there, or the cluster does not answer within a few seconds.
pub fn space_and_fsid(connection: &Connection) -> Result<String, NoAnswer> {
    let session = Session::connect(connection)?;
    let (fsid, df) = (session.fsid()?, session.df()?);
    // Both come from the library as JSON and as 36 characters; whoever reads them checks.
    Ok(format!("{{\"fsid\":\"{fsid}\",\"df\":{df}}}"))
}

/// An open connection, closed when dropped.
struct Session {
    library: Library,
    cluster: Cluster,
}

impl Session {
    fn connect(connection: &Connection) -> Result<Self, NoAnswer> {
        let library = Library::open()?;
        let user = CString::new(connection.user.as_str())?;
        let mut cluster = ptr::null_mut();
        let create: Create = library.function(c"rados_create2")?;
        // SAFETY: both texts end with a null byte and outlive the call; `cluster` is written to.
        let created = unsafe { create(&raw mut cluster, c"ceph".as_ptr(), user.as_ptr(), 0) };
        done("make a client", created)?;
        let session = Self { library, cluster };
        session.configure(connection)?;
        let connect: OnCluster = session.library.function(c"rados_connect")?;
        // SAFETY: `cluster` came from rados_create2 and is not connected yet.
        done("connect", unsafe { connect(session.cluster) })?;
        Ok(session)
    }

    fn configure(&self, connection: &Connection) -> Result<(), NoAnswer> {
        if let Some(conf) = &connection.conf {
            let conf = CString::new(conf.as_str())?;
            let read: WithText = self.library.function(c"rados_conf_read_file")?;
            // SAFETY: the cluster is not connected yet; the text outlives the call.
            done("read the configuration", unsafe { read(self.cluster, conf.as_ptr()) })?;
        }
        let set: WithTwoTexts = self.library.function(c"rados_conf_set")?;
        for (name, value) in connection.options() {
            let (name, value) = (CString::new(name)?, CString::new(value)?);
            // SAFETY: as above.
            let answer = unsafe { set(self.cluster, name.as_ptr(), value.as_ptr()) };
            done("take an option", answer)?;
        }
        Ok(())
    }

    fn fsid(&self) -> Result<String, NoAnswer> {
        let fsid: Fsid = self.library.function(c"rados_cluster_fsid")?;
        let mut text = [0_u8; 37];
        // SAFETY: the library writes at most as many bytes as it is told there are.
        let length = unsafe { fsid(self.cluster, text.as_mut_ptr().cast(), text.len()) };
        done("name the cluster", length)?;
        Ok(CStr::from_bytes_until_nul(&text).unwrap_or_default().to_string_lossy().into_owned())
    }

    fn df(&self) -> Result<String, NoAnswer> {
        let command: MonCommand = self.library.function(c"rados_mon_command")?;
        let free: Free = self.library.function(c"rados_buffer_free")?;
        let mut words = [c"{\"prefix\":\"df\",\"format\":\"json\"}".as_ptr()];
        let (mut answer, mut length) = (ptr::null_mut(), 0);
        // SAFETY: one command, no input; the answer's buffer and length are written to; nobody
        // asks for the status text, which null pointers say.
        let result = unsafe {
            command(
                self.cluster,
                words.as_mut_ptr(),
                words.len(),
                ptr::null(),
                0,
                &raw mut answer,
                &raw mut length,
                ptr::null_mut(),
                ptr::null_mut(),
            )
        };
        done("ask for the free space", result)?;
        if answer.is_null() {
            return Err(NoAnswer::Refused { doing: "say the free space", errno: 0 });
        }
        // SAFETY: the library allocated `length` bytes there, which are ours until given back.
        let text = unsafe { std::slice::from_raw_parts(answer.cast::<u8>(), length) };
        let text = String::from_utf8_lossy(text).into_owned();
        // SAFETY: the buffer is given back once and not used afterwards.
        unsafe { free(answer) };
        Ok(text)
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if let Ok(shutdown) = self.library.function::<Shutdown>(c"rados_shutdown") {
            // SAFETY: the cluster came from rados_create2 and is used no more.
            unsafe { shutdown(self.cluster) };
        }
    }
}

/// The library; never closed, since its threads may outlive the session by a moment.
struct Library(*mut c_void);

impl Library {
    fn open() -> Result<Self, NoAnswer> {
        // SAFETY: the name ends with a null byte. The library's initialisers are Ceph's own.
        let handle = unsafe { libc::dlopen(c"librados.so.2".as_ptr(), libc::RTLD_NOW) };
        if handle.is_null() { Err(NoAnswer::Library(why())) } else { Ok(Self(handle)) }
    }

    /// The function of this name, as a pointer of type `F`, which must be its type in librados.h.
    fn function<F: Copy>(&self, name: &CStr) -> Result<F, NoAnswer> {
        // SAFETY: the handle is open and the name ends with a null byte.
        let symbol = unsafe { libc::dlsym(self.0, name.as_ptr()) };
        if symbol.is_null() || size_of::<F>() != size_of_val(&symbol) {
            return Err(NoAnswer::Library(format!("it has no {}", name.to_string_lossy())));
        }
        // SAFETY: the sizes are equal, and the types above are those of the header.
        Ok(unsafe { std::mem::transmute_copy(&symbol) })
    }
}

fn why() -> String {
    // SAFETY: dlerror returns null or a text that is valid until the next call on this thread.
    let text = unsafe { libc::dlerror() };
    if text.is_null() {
        return "it is not there".to_owned();
    }
    // SAFETY: as above.
    unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned()
}

fn done(doing: &'static str, answer: c_int) -> Result<(), NoAnswer> {
    if answer < 0 { Err(NoAnswer::Refused { doing, errno: -answer }) } else { Ok(()) }
}
