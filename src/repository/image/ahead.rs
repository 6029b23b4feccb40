//! Frames that are read and decompressed on many threads ahead of whoever needs them, and come in the
//! order in which they were asked for. It knows neither chains nor volumes.

use super::error::ImageError;
use super::reader::FrameTool;
use super::workers::{Pool, Promise, Workers};
use std::collections::VecDeque;
use std::io;
use std::thread;

type Decoded = Result<Vec<u8>, ImageError>;

/// Runs `body` while threads `read` the frames that it asks for.
///
/// # Errors
/// That of the body; there are no threads.
pub(super) fn read_ahead<J: Send, T, E: From<ImageError>>(
    threads: usize,
    read: impl Fn(J, &mut FrameTool, &mut Vec<u8>) -> Result<(), ImageError> + Sync,
    body: impl FnOnce(&mut Ahead<'_, J>) -> Result<T, E>,
) -> Result<T, E> {
    let window = 2 * threads.max(1);
    let pool = Pool::default();
    thread::scope(|scope| {
        let (pool, read) = (&pool, &read);
        let work = move |tool: &mut io::Result<FrameTool>, job: J| {
            let mut bytes = pool.take();
            let no_tool = |error: &mut io::Error| io::Error::other(error.to_string());
            let tool = tool.as_mut().map_err(|error| ImageError::Thread(no_tool(error)))?;
            read(job, tool, &mut bytes).map(|()| bytes)
        };
        let workers = Workers::start(scope, (threads, window), FrameTool::new, work)
            .map_err(|source| E::from(ImageError::Thread(source)))?;
        body(&mut Ahead { workers, window, waiting: VecDeque::new(), pool })
    })
}

/// Frames that were asked for and are not needed yet.
pub(super) struct Ahead<'a, J> {
    workers: Workers<J, Decoded>,
    window: usize,
    waiting: VecDeque<Promise<Decoded>>,
    pool: &'a Pool,
}

impl<J> Ahead<'_, J> {
    /// Whether one more may be asked for without having more in memory than is worth it.
    pub(super) fn has_room(&self) -> bool {
        self.waiting.len() < self.window
    }

    /// Asks for a frame.
    pub(super) fn ask(&mut self, job: J) {
        self.waiting.push_back(self.workers.give(job));
    }

    /// The frame that was asked for first.
    pub(super) fn next(&mut self) -> Decoded {
        let promise = self.waiting.pop_front();
        let result = promise.and_then(|promise| promise.recv().ok());
        result.unwrap_or_else(|| {
            Err(ImageError::Thread(io::Error::other("a decompressing thread died")))
        })
    }

    /// Takes the memory of a frame that nobody needs any more.
    pub(super) fn give_back(&self, memory: Vec<u8>) {
        self.pool.give(memory);
    }
}
