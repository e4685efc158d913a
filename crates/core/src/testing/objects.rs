//! Objects, jobs and time in memory.

use crate::chunk::Format;
use crate::conversion::{Conversion, Place, TextMap, conversion_key, map_key, text_key};
use crate::document::Millis;
use crate::ports::{Clock, Converter, Job, JobQueue, ObjectEntry, ObjectStore, Original};
use crate::{Error, Result, Retry, Tenant};
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::future::poll_fn;
use std::ops::Range;
use std::task::{Poll, Waker};

/// Objects in a map.
#[derive(Debug, Default)]
pub struct MemoryObjects {
    /// Bytes and time of writing, by key.
    pub objects: RefCell<BTreeMap<String, (Vec<u8>, Millis)>>,
}

impl ObjectStore for MemoryObjects {
    async fn put(&self, _: &Tenant, key: &str, bytes: &[u8], _: &str) -> Result<()> {
        self.objects.borrow_mut().insert(key.to_owned(), (bytes.to_vec(), 0));
        Ok(())
    }

    async fn get(&self, _: &Tenant, key: &str) -> Result<Option<Vec<u8>>> {
        Ok(self.objects.borrow().get(key).map(|(bytes, _)| bytes.clone()))
    }

    async fn read(&self, _: &Tenant, key: &str, range: Range<u64>) -> Result<Option<Vec<u8>>> {
        let objects = self.objects.borrow();
        let Some((bytes, _)) = objects.get(key) else { return Ok(None) };
        let end = bytes.len().min(range.end as usize);
        let start = end.min(range.start as usize);
        Ok(Some(bytes[start..end].to_vec()))
    }

    async fn delete(&self, keys: &[String]) -> Result<()> {
        self.objects.borrow_mut().retain(|key, _| !keys.contains(key));
        Ok(())
    }

    async fn list(&self, _: Option<String>) -> Result<(Vec<ObjectEntry>, Option<String>)> {
        let objects = self.objects.borrow();
        let entry = |(key, (_, uploaded)): (&String, &(Vec<u8>, Millis))| ObjectEntry {
            key: key.clone(),
            uploaded: *uploaded,
        };
        Ok((objects.iter().map(entry).collect(), None))
    }
}

/// Reads what begins like a PDF, and text in Latin-1: form feeds end pages. Refuses what begins with an exclamation mark,
/// breaks over what begins with a question mark. Of what begins with `speech `, a speech model says the code that follows;
/// without one it fails. What begins with `more` is never done.
impl Converter for MemoryObjects {
    async fn convert(&self, tenant: &Tenant, original: &Original<'_>) -> Result<Option<Conversion>> {
        let bytes = self.get(tenant, original.key).await?.unwrap_or_default();
        if bytes.starts_with(b"!") {
            return Err(Error::Document {
                code: "unreadable".into(),
                message: "it begins with a `!`".into(),
            });
        }
        if bytes.starts_with(b"?") {
            let message = "it begins with a `?`".into();
            return Err(Error::Service { service: "converter", retry: Retry::Backoff, code: None, message });
        }
        if bytes.starts_with(b"more") {
            return Ok(None);
        }
        if let Some(code) = bytes.strip_prefix(b"speech ") {
            let code =
                String::from_utf8_lossy(code).chars().take_while(char::is_ascii_digit).collect::<String>();
            let code: Option<u32> = code.parse().ok();
            let retry = if code.is_some() { Retry::Never } else { Retry::Backoff };
            return Err(Error::Service {
                service: "speech",
                retry,
                code,
                message: "it was asked for this".into(),
            });
        }
        let (mut text, mut places) = (String::new(), Vec::new());
        for (number, page) in bytes.split(|byte| *byte == 0x0C).enumerate() {
            places.push(Place { at: text.len() as u64, page: Some(number as u32 + 1), row: None });
            text.extend(page.iter().map(|byte| char::from(*byte)));
            text.push('\n');
        }
        let conversion = Conversion { format: Format::Markdown, bytes: text.len() as u64, mapped: true };
        let map = serde_json::to_vec(&TextMap { places, chunks: Vec::new() }).unwrap_or_default();
        self.put(tenant, &map_key(original.key), &map, "application/json").await?;
        let json = serde_json::to_vec(&conversion).unwrap_or_default();
        self.put(tenant, &text_key(original.key), text.as_bytes(), "text/plain").await?;
        self.put(tenant, &conversion_key(original.key), &json, "application/json").await?;
        Ok(Some(conversion))
    }
}

/// Jobs in a list.
#[derive(Debug, Default)]
pub struct MemoryJobs {
    /// Not delivered yet; their delays are no concern here.
    pub jobs: RefCell<VecDeque<Job>>,
    /// All that was ever sent, with its delay in seconds.
    pub sent: RefCell<Vec<(Job, u32)>>,
}

impl JobQueue for MemoryJobs {
    async fn send(&self, jobs: &[Job], delay_seconds: u32) -> Result<()> {
        self.jobs.borrow_mut().extend(jobs.iter().cloned());
        self.sent.borrow_mut().extend(jobs.iter().map(|job| (job.clone(), delay_seconds)));
        Ok(())
    }
}

/// Time that stands still until it is moved.
#[derive(Debug)]
pub struct ManualClock {
    now: Cell<Millis>,
    sleeping: RefCell<Vec<Waker>>,
}

impl Default for ManualClock {
    fn default() -> Self {
        Self { now: Cell::new(1_000_000_000_000), sleeping: RefCell::default() }
    }
}

impl ManualClock {
    /// Moves on, and wakes who slept until then.
    pub fn advance(&self, by: Millis) {
        self.now.set(self.now.get() + by);
        self.sleeping.borrow_mut().drain(..).for_each(Waker::wake);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Millis {
        self.now.get()
    }

    async fn sleep(&self, milliseconds: u64) {
        let until = self.now.get() + milliseconds;
        poll_fn(|context| {
            if self.now.get() >= until {
                return Poll::Ready(());
            }
            self.sleeping.borrow_mut().push(context.waker().clone());
            Poll::Pending
        })
        .await;
    }
}
