//! One client of PVE's API over two ways in: `pvesh` on a node, HTTPS from anywhere. What is asked
//! for is a value ([`Request`]) and looks the same on both ways. Not a model of PVE: what answers
//! mean stands in `guests.rs` and with those who ask.

mod autosnap_password;
mod error;
mod guests;
mod https;
mod login;
mod pvesh;
mod request;
mod role;
mod task;
mod tls;
mod unseen;
mod wire;

pub use autosnap_password::{PasswordFileError, password_in};
pub use error::ApiError;
pub use guests::{ApiGuest, ApiStorage, path};
pub use https::{Https, HttpsSettings};
pub use login::{Credentials, Endpoint, RENEWED_AFTER};
pub use pvesh::{HostOf, Pvesh};
pub use request::{Method, Request};
pub use role::{Missing, commands as privilege_commands};
pub use task::{TaskEnd, Upid};
pub use tls::{Fingerprint, Trust};

use serde_json::Value;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Mutex, Semaphore};
use tokio::time::Instant;

/// Requests in flight at once: pveproxy has few workers, and people use them, too.
const AT_ONCE: usize = 16;

/// The pause between the starts of two requests.
const PACE: Duration = Duration::from_millis(5);

/// The API of one cluster.
#[derive(Debug)]
pub struct Api {
    way: Way,
    room: Semaphore,
    next: Mutex<Instant>,
}

#[derive(Debug)]
enum Way {
    Pvesh(Pvesh),
    Https(Arc<Https>),
}

impl Api {
    /// The API through `pvesh`.
    pub fn on_nodes(pvesh: Pvesh) -> Self {
        Self::over(Way::Pvesh(pvesh))
    }

    /// The API over HTTPS.
    pub fn over_https(https: Https) -> Self {
        Self::over(Way::Https(Arc::new(https)))
    }

    fn over(way: Way) -> Self {
        Self { way, room: Semaphore::new(AT_ONCE), next: Mutex::new(Instant::now()) }
    }

    /// Sends a request and gives back the data of its answer. Waits while too many are under way.
    ///
    /// # Errors
    /// As the way in has them.
    pub async fn call(&self, request: &Request) -> Result<Value, ApiError> {
        // The semaphore is never closed, so this waits and does not fail.
        let _room = self.room.acquire().await;
        self.keep_pace().await;
        match &self.way {
            Way::Pvesh(pvesh) => pvesh.call(request).await,
            Way::Https(https) => {
                let (client, sent) = (https.clone(), request.clone());
                let joined = tokio::task::spawn_blocking(move || client.call(&sent)).await;
                joined.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))
            }
        }
    }

    /// Sends a request that starts a task, and follows the task to its end.
    ///
    /// # Errors
    /// As [`Api::call`] and [`Api::follow`].
    pub async fn run(&self, request: &Request, limit: Duration) -> Result<TaskEnd, ApiError> {
        let answer = self.call(request).await?;
        self.follow(&Upid::in_answer(request, &answer)?, limit).await
    }

    async fn keep_pace(&self) {
        let mut next = self.next.lock().await;
        tokio::time::sleep_until(*next).await;
        *next = Instant::now() + PACE;
    }
}
