//! Takes what a program prints, and never more than a limit. Not for what it means.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

/// A line that is longer is told in pieces.
const LINE: usize = 4 << 10;
/// More standard error than this is no message, it is a flood; only its end is kept.
const STDERR_KEPT: usize = 64 << 10;
/// Bytes that are read at once.
const PIECE: usize = 64 << 10;

/// Everything until the pipe closes; none when it is more than `limit` bytes, which `flood` is told
/// at once.
pub(super) async fn all_of(
    from: Option<impl AsyncRead + Unpin>,
    limit: usize,
    flood: oneshot::Sender<()>,
) -> io::Result<Option<Vec<u8>>> {
    let (mut kept, mut piece) = (Vec::new(), vec![0_u8; PIECE]);
    let Some(mut from) = from else { return Ok(Some(kept)) };
    loop {
        let count = from.read(&mut piece).await?;
        if count == 0 {
            return Ok(Some(kept));
        }
        if kept.len() + count > limit {
            // Who started the program may have gone.
            let _ = flood.send(());
            return Ok(None);
        }
        kept.extend_from_slice(&piece[..count]);
    }
}

/// The end of what a program says on standard error, read while it runs.
#[derive(Debug)]
pub(super) struct Tail {
    kept: Arc<Mutex<Vec<u8>>>,
    reader: Option<JoinHandle<()>>,
}

impl Tail {
    /// Begins to read.
    pub fn of(from: Option<impl AsyncRead + Unpin + Send + 'static>) -> Self {
        let kept = Arc::default();
        let reader = from.map(|from| tokio::spawn(keep_the_end(from, Arc::clone(&kept))));
        Self { kept, reader }
    }

    /// What was said. An orphan that holds the pipe open is waited for so long, no longer.
    pub async fn text(&mut self, most: Duration) -> String {
        if let Some(mut reader) = self.reader.take() {
            if tokio::time::timeout(most, &mut reader).await.is_err() {
                reader.abort();
            }
        }
        String::from_utf8_lossy(&lock(&self.kept)).into_owned()
    }
}

async fn keep_the_end(mut from: impl AsyncRead + Unpin, kept: Arc<Mutex<Vec<u8>>>) {
    let mut piece = vec![0_u8; PIECE];
    while let Ok(count @ 1..) = from.read(&mut piece).await {
        let mut kept = lock(&kept);
        kept.extend_from_slice(&piece[..count]);
        let surplus = kept.len().saturating_sub(STDERR_KEPT);
        kept.drain(..surplus);
    }
}

fn lock(kept: &Mutex<Vec<u8>>) -> MutexGuard<'_, Vec<u8>> {
    kept.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Sends each line, without its end, until the pipe closes or nobody listens any more.
pub(super) async fn send_lines(from: Option<impl AsyncRead + Unpin>, to: mpsc::Sender<String>) {
    let Some(mut from) = from else { return };
    let (mut held, mut piece) = (Vec::new(), vec![0_u8; LINE]);
    while let Ok(count @ 1..) = from.read(&mut piece).await {
        held.extend_from_slice(&piece[..count]);
        while let Some(end) = held.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = held.drain(..=end).collect();
            if to.send(String::from_utf8_lossy(&line).trim_end().to_owned()).await.is_err() {
                return;
            }
        }
        if held.len() >= LINE {
            let piece = String::from_utf8_lossy(&std::mem::take(&mut held)).into_owned();
            let _ = to.send(piece).await;
        }
    }
    if !held.is_empty() {
        // Nobody listens any more: then nobody misses it.
        let _ = to.send(String::from_utf8_lossy(&held).trim_end().to_owned()).await;
    }
}
