//! Ceph's own C library: reads objects as they were in a snapshot, and asks a cluster who it is and
//! how full, and lists the names of a pool. Does not know RBD.
//!
//! No command can do the first: `rados get` refuses the snapshots that RBD makes, and everything built
//! on librbd asks the object map, which is part of what an audit is to check. Every PVE node with
//! Ceph has the library, as `rbd` itself needs it; it is loaded when it is used, so that the program
//! runs without it. Its C interface (rados/librados.h) has not changed since Ceph 10. For the second
//! there are `ceph fsid` and `ceph df`, Python programs that take a third of a second to start, each;
//! that is asked in a process of its own (`pve-ferry ask-ceph`), as PVE's `PVE::RADOS` does, since the
//! library ends the process when it finds itself broken.

#![allow(unsafe_code)]

use super::connection::Connection;
use libc::{RTLD_LOCAL, RTLD_NOW, dlerror, dlopen, dlsym};
use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::io;
use std::ptr::null_mut;
use std::sync::Arc;

/// What the library could not do.
#[derive(Debug, thiserror::Error)]
#[error("librados: {0}")]
pub struct Failure(String);

impl Failure {
    /// For what cannot be: an image without a layer.
    pub(super) fn nothing() -> Self {
        Self("there is nothing to read".to_owned())
    }
}

/// A connection to a cluster.
#[derive(Debug)]
pub(super) struct Cluster {
    library: Library,
    handle: Handle,
}

/// A pool as it was in one snapshot.
#[derive(Debug)]
pub(super) struct PoolAt {
    pub(super) cluster: Arc<Cluster>,
    pub(super) name: String,
    namespace: String,
    context: Handle,
}

/// `rados_t` or `rados_ioctx_t`.
#[derive(Debug, Clone, Copy)]
struct Handle(*mut c_void);

// SAFETY: librados.h: cluster handles and I/O contexts may be used by several threads at once.
unsafe impl Send for Handle {}
// SAFETY: as above; the snapshot of a context is set before anybody else sees it.
unsafe impl Sync for Handle {}

type Out = *mut *mut c_void;
type In = *mut c_void;
type Text = *const c_char;

/// The functions that we call, by their names in librados.h.
#[derive(Debug, Clone, Copy)]
struct Library {
    create2: unsafe extern "C" fn(Out, Text, Text, u64) -> c_int,
    conf_read_file: unsafe extern "C" fn(In, Text) -> c_int,
    conf_set: unsafe extern "C" fn(In, Text, Text) -> c_int,
    connect: unsafe extern "C" fn(In) -> c_int,
    shutdown: unsafe extern "C" fn(In),
    ioctx_create: unsafe extern "C" fn(In, Text, Out) -> c_int,
    ioctx_destroy: unsafe extern "C" fn(In),
    ioctx_set_namespace: unsafe extern "C" fn(In, Text),
    snap_set_read: unsafe extern "C" fn(In, u64),
    read: unsafe extern "C" fn(In, Text, *mut c_char, usize, u64) -> c_int,
    cluster_fsid: unsafe extern "C" fn(In, *mut c_char, usize) -> c_int,
    mon_command: MonCommand,
    buffer_free: unsafe extern "C" fn(*mut c_char),
    /// None where it cannot list.
    list: Option<ListFunctions>,
}

/// `rados_nobjects_list_*`: opening, the next name (with its key and namespace), closing.
#[derive(Debug, Clone, Copy)]
struct ListFunctions {
    open: unsafe extern "C" fn(In, Out) -> c_int,
    next: unsafe extern "C" fn(In, *mut Text, *mut Text, *mut Text) -> c_int,
    close: unsafe extern "C" fn(In),
}

/// A list of names that is being read, by one thread.
struct List {
    functions: ListFunctions,
    handle: In,
}

/// Commands and their number; input and its length; the answer and a status, each with its length.
type MonCommand = unsafe extern "C" fn(
    In,
    *mut Text,
    usize,
    Text,
    usize,
    *mut *mut c_char,
    *mut usize,
    *mut *mut c_char,
    *mut usize,
) -> c_int;

const ENOENT: c_int = 2;

/// `LIBRADOS_SNAP_HEAD`: no snapshot. Others refuse to be listed (EINVAL).
const HEAD: u64 = u64::MAX - 1;

/// Nothing waits for ever, in seconds; and what is wrong is said by our own errors.
const OPTIONS: [(&str, &str); 4] = [
    ("rados_mon_op_timeout", "60"),
    ("rados_osd_op_timeout", "120"),
    ("log_to_stderr", "false"),
    ("err_to_stderr", "false"),
];

impl Cluster {
    /// Logs in; blocks for so many seconds at most while no monitor answers.
    pub(super) fn connect(connection: &Connection, patience: &str) -> Result<Arc<Self>, Failure> {
        let library = Library::load()?;
        let (mut raw, name) = (null_mut(), text(&connection.user)?);
        // SAFETY: the library fills `raw`, and the texts live until the call returns.
        let made = unsafe { (library.create2)(&raw mut raw, c"ceph".as_ptr(), name.as_ptr(), 0) };
        checked(made, "make a handle")?;
        // From here on, dropping it shuts it down.
        let cluster = Self { library, handle: Handle(raw) };
        cluster.configure(connection, patience)?;
        // SAFETY: the handle was made above and is not shut down.
        let connected = unsafe { (library.connect)(cluster.handle.0) };
        checked(connected, &format!("connect as {}", connection.user))?;
        Ok(Arc::new(cluster))
    }

    fn configure(&self, connection: &Connection, patience: &str) -> Result<(), Failure> {
        let conf = connection.conf.as_deref().map(text).transpose()?;
        let path = conf.as_ref().map_or(std::ptr::null(), |path| path.as_ptr());
        // SAFETY: the handle is open, and the path is null or lives until the call returns.
        let read = unsafe { (self.library.conf_read_file)(self.handle.0, path) };
        // As `rbd`: without a file that was asked for, the options say it all.
        if conf.is_some() || read != -ENOENT {
            checked(read, "read the configuration file")?;
        }
        self.set("client_mount_timeout", patience)?;
        OPTIONS.iter().try_for_each(|(option, value)| self.set(option, value))?;
        connection.options().into_iter().try_for_each(|(option, value)| self.set(option, value))
    }

    fn set(&self, option: &str, value: &str) -> Result<(), Failure> {
        let (key, value) = (text(option)?, text(value)?);
        // SAFETY: the handle is open, and the texts live until the call returns.
        let set = unsafe { (self.library.conf_set)(self.handle.0, key.as_ptr(), value.as_ptr()) };
        checked(set, &format!("set {option}"))
    }

    /// The cluster's id: 36 characters, unchecked.
    pub(super) fn fsid(&self) -> Result<String, Failure> {
        let mut text = [0_u8; 37];
        let buffer = text.as_mut_ptr().cast();
        // SAFETY: the handle is connected, and at most as many bytes are written as there are.
        let length = unsafe { (self.library.cluster_fsid)(self.handle.0, buffer, text.len()) };
        checked(length, "ask for the cluster's id")?;
        Ok(CStr::from_bytes_until_nul(&text).unwrap_or_default().to_string_lossy().into_owned())
    }

    /// The answer of `ceph df --format json`.
    pub(super) fn df(&self) -> Result<String, Failure> {
        self.ask(c"{\"prefix\":\"df\",\"format\":\"json\"}", "ask for the free space")
    }

    /// The answer of `ceph osd dump --format json`.
    pub(super) fn osd_dump(&self) -> Result<String, Failure> {
        self.ask(c"{\"prefix\":\"osd dump\",\"format\":\"json\"}", "ask for the OSD map")
    }

    fn ask(&self, command: &CStr, what: &str) -> Result<String, Failure> {
        let mut words = [command.as_ptr()];
        let (mut answer, mut length) = (null_mut(), 0);
        // SAFETY: one command and no input; the answer and its length are filled in; null pointers
        // say that nobody wants the status.
        let result = unsafe {
            (self.library.mon_command)(
                self.handle.0,
                words.as_mut_ptr(),
                words.len(),
                std::ptr::null(),
                0,
                &raw mut answer,
                &raw mut length,
                null_mut(),
                null_mut(),
            )
        };
        checked(result, what)?;
        if answer.is_null() {
            return Err(Failure(format!("cannot {what}: the answer is empty")));
        }
        // SAFETY: the library allocated so many bytes there, which are ours until given back.
        let bytes = unsafe { std::slice::from_raw_parts(answer.cast::<u8>(), length) };
        let text = String::from_utf8_lossy(bytes).into_owned();
        // SAFETY: given back once, and not used afterwards.
        unsafe { (self.library.buffer_free)(answer) };
        Ok(text)
    }

    /// A pool as it was in a snapshot, by the snapshot's number.
    pub(super) fn pool(
        self: &Arc<Self>,
        pool: &str,
        namespace: &str,
        snapshot: u64,
    ) -> Result<PoolAt, Failure> {
        let (library, mut raw) = (self.library, null_mut());
        let (name, space) = (text(pool)?, text(namespace)?);
        // SAFETY: the handle is open, the library fills `raw`, the name lives until the return.
        let made = unsafe { (library.ioctx_create)(self.handle.0, name.as_ptr(), &raw mut raw) };
        checked(made, &format!("open pool {pool}"))?;
        let pool = PoolAt {
            cluster: self.clone(),
            name: pool.to_owned(),
            namespace: namespace.to_owned(),
            context: Handle(raw),
        };
        // SAFETY: the context was made above, and the text lives until the call returns.
        unsafe { (library.ioctx_set_namespace)(pool.context.0, space.as_ptr()) };
        // SAFETY: the context was made above and nobody else has it yet.
        unsafe { (library.snap_set_read)(pool.context.0, snapshot) };
        Ok(pool)
    }
}

impl PoolAt {
    /// Reads an object from `offset` on and tells how many bytes there were; none when there was no
    /// such object in the snapshot.
    pub(super) fn read(
        &self,
        object: &str,
        offset: u64,
        buffer: &mut [u8],
    ) -> Result<Option<usize>, Failure> {
        let (name, read) = (text(object)?, self.cluster.library.read);
        // SAFETY: the context is open, and the library writes at most `len` bytes into the buffer.
        let count = unsafe {
            read(self.context.0, name.as_ptr(), buffer.as_mut_ptr().cast(), buffer.len(), offset)
        };
        if count == -ENOENT {
            return Ok(None);
        }
        checked(count, &format!("read object {object}"))?;
        Ok(Some(usize::try_from(count).unwrap_or(0)))
    }

    /// Hands out the names of the objects of its namespace as they are now, in no order, until `each`
    /// says no: then the list is not whole. Names that are no UTF-8 are passed over.
    pub(super) fn each_name(&self, each: &mut dyn FnMut(&str) -> bool) -> Result<(), Failure> {
        let functions = self.cluster.library.list;
        let functions = functions.ok_or_else(|| Failure("it cannot list objects".to_owned()))?;
        let now = self.cluster.pool(&self.name, &self.namespace, HEAD)?;
        let mut handle = null_mut();
        // SAFETY: the context is open and outlives the list; the library fills `handle`.
        let opened = unsafe { (functions.open)(now.context.0, &raw mut handle) };
        checked(opened, &format!("list pool {}", self.name))?;
        let mut list = List { functions, handle };
        while let Some(name) = list.next()? {
            if std::str::from_utf8(name.to_bytes()).is_ok_and(|name| !each(name)) {
                break;
            }
        }
        drop(list);
        Ok(())
    }
}

impl List {
    /// The next name; it is the library's until the next call, which the borrow puts off.
    fn next(&mut self) -> Result<Option<&CStr>, Failure> {
        let mut name = std::ptr::null();
        // SAFETY: the list is open and read by this thread only; null pointers say that nobody wants
        // key and namespace.
        let found =
            unsafe { (self.functions.next)(self.handle, &raw mut name, null_mut(), null_mut()) };
        if found == -ENOENT {
            return Ok(None);
        }
        checked(found, "list objects")?;
        // SAFETY: the library gave a C string, which it keeps until the list is asked again or closed.
        Ok((!name.is_null()).then(|| unsafe { CStr::from_ptr(name) }))
    }
}

impl Drop for List {
    fn drop(&mut self) {
        // SAFETY: the list is closed once, before its context is destroyed.
        unsafe { (self.functions.close)(self.handle) };
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // SAFETY: the handle is shut down once, after all contexts, which hold an Arc of it.
        unsafe { (self.library.shutdown)(self.handle.0) };
    }
}

impl Drop for PoolAt {
    fn drop(&mut self) {
        // SAFETY: the context is destroyed once, before its cluster.
        unsafe { (self.cluster.library.ioctx_destroy)(self.context.0) };
    }
}

impl Library {
    /// Loads it; a second time gives the same one. It is never unloaded.
    fn load() -> Result<Self, Failure> {
        // SAFETY: the name is a C string, and the library's constructors have no preconditions.
        let library = unsafe { dlopen(c"librados.so.2".as_ptr(), RTLD_NOW | RTLD_LOCAL) };
        if library.is_null() {
            return Err(Failure(format!("{}; it comes with ceph-common", last_error())));
        }
        // SAFETY: each type below is that of the function in rados/librados.h.
        unsafe {
            Ok(Self {
                create2: function(library, c"rados_create2")?,
                conf_read_file: function(library, c"rados_conf_read_file")?,
                conf_set: function(library, c"rados_conf_set")?,
                connect: function(library, c"rados_connect")?,
                shutdown: function(library, c"rados_shutdown")?,
                ioctx_create: function(library, c"rados_ioctx_create")?,
                ioctx_destroy: function(library, c"rados_ioctx_destroy")?,
                ioctx_set_namespace: function(library, c"rados_ioctx_set_namespace")?,
                snap_set_read: function(library, c"rados_ioctx_snap_set_read")?,
                read: function(library, c"rados_read")?,
                cluster_fsid: function(library, c"rados_cluster_fsid")?,
                mon_command: function(library, c"rados_mon_command")?,
                buffer_free: function(library, c"rados_buffer_free")?,
                list: ListFunctions::of(library).ok(),
            })
        }
    }
}

impl ListFunctions {
    /// # Safety
    /// The handle is that of librados.
    unsafe fn of(library: *mut c_void) -> Result<Self, Failure> {
        // SAFETY: each type is that of the function in rados/librados.h.
        unsafe {
            Ok(Self {
                open: function(library, c"rados_nobjects_list_open")?,
                next: function(library, c"rados_nobjects_list_next")?,
                close: function(library, c"rados_nobjects_list_close")?,
            })
        }
    }
}

/// A function of the library.
///
/// # Safety
/// `F` is the type of a pointer to that very function.
unsafe fn function<F: Copy>(library: *mut c_void, name: &CStr) -> Result<F, Failure> {
    // SAFETY: the library is loaded and the name is a C string.
    let found = unsafe { dlsym(library, name.as_ptr()) };
    if found.is_null() {
        return Err(Failure(last_error()));
    }
    // SAFETY: the caller promises the type, and pointers to functions are as large as others here.
    Ok(unsafe { std::mem::transmute_copy(&found) })
}

fn last_error() -> String {
    // SAFETY: no arguments; the text is this thread's until its next dl call, and is copied.
    let error = unsafe { dlerror() };
    if error.is_null() {
        return "it cannot be loaded".to_owned();
    }
    // SAFETY: it is not null, and dlerror gives a C string.
    unsafe { CStr::from_ptr(error) }.to_string_lossy().into_owned()
}

fn text(text: &str) -> Result<CString, Failure> {
    CString::new(text).map_err(|_| Failure(format!("{text:?} holds a zero byte")))
}

fn checked(result: c_int, what: &str) -> Result<(), Failure> {
    if result >= 0 {
        return Ok(());
    }
    Err(Failure(format!("cannot {what}: {}", io::Error::from_raw_os_error(-result))))
}
