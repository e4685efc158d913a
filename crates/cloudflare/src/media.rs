//! Core's `Converter`: documents by the service that is bound, images and recordings by models, and by `toMarkdown` what the
//! settings hand to it.

use crate::ai::{Ai, AiError, Markdown, VisionRequest, audio_size, is_cut_off};
use crate::budget::{Amount, Budget};
use crate::convert::{STORE_OPERATIONS, ServiceConverter, store};
use crate::ledger::Ledger;
use crate::models::fault;
use crate::r2::R2Objects;
use ragflare_core::chunk::Format;
use ragflare_core::conversion::{Conversion, Place, TextMap, progress_key};
use ragflare_core::kind::{self, Audio, Detected, Kind};
use ragflare_core::media::cut::{Cutter, HEAD, Most};
use ragflare_core::media::transcript::{Progress, of_image, of_recording};
use ragflare_core::media::{AudioReader, ImageReader, MOST_TOKENS, Readers, TRIES, neurons_of_image};
use ragflare_core::ports::{Converter, ObjectStore, Original};
use ragflare_core::{Error, Result, Retry, Tenant, prices};
use std::cell::Cell;
use std::rc::Rc;
use worker::Date;

/// The largest image, in bytes: Workers AI takes requests of 10 MB, and base64 is a third longer.
const IMAGE_BYTES: u64 = 7_000_000;
/// What a recording is called that can't be cut.
const UNCUT: &str = "recording of a format that can't be cut into parts (only WAV and MP3 can)";
/// The largest file handed to `toMarkdown`, in bytes: the runtime makes base64 and JSON of it in this worker's memory.
const MARKDOWN_BYTES: u64 = 10_000_000;
/// The longest part of a recording. Calls were seen to end with 3046 (timeout) after two minutes.
const PART_SECONDS: f64 = 600.0;
/// Parts of a recording at most: twenty hours of them, and more than the largest upload can have in whole ones.
const MOST_PARTS: u64 = 200;
/// Parts of recordings heard in one invocation, of all of its documents together.
const PARTS_AT_ONCE: u32 = 8;
/// Milliseconds of models' work after which an invocation begins no further: a call may take two minutes, and the other
/// documents of a batch wait for it.
const TIME: u64 = 90 * 1000;
/// Codes of timeouts on Cloudflare's side. For an embedding they are want of capacity; a file may always take too long.
const TIMEOUTS: [u32; 2] = [3007, 3008];
/// Bytes of a second at the lowest rate that speech is kept at (32 kbit/s): how long a recording is taken to be before it was
/// heard.
const SLOWEST: f64 = 4000.0;

/// Documents by the service that is bound, the rest by models.
#[derive(Clone, Debug)]
pub struct MediaConverter {
    pub(crate) service: ServiceConverter,
    pub(crate) ai: Ai,
    pub(crate) objects: R2Objects,
    pub(crate) readers: Rc<Readers>,
    pub(crate) budget: Budget,
    pub(crate) ledger: Ledger,
    pub(crate) done: Done,
}

/// What models have done in an invocation.
#[derive(Clone, Debug, Default)]
pub(crate) struct Done {
    parts: Rc<Cell<u32>>,
    milliseconds: Rc<Cell<u64>>,
}

impl Done {
    fn is_enough(&self) -> bool {
        self.parts.get() >= PARTS_AT_ONCE || self.milliseconds.get() >= TIME
    }

    fn add(&self, parts: u32, milliseconds: u64) {
        self.parts.set(self.parts.get() + parts);
        self.milliseconds.set(self.milliseconds.get() + milliseconds);
    }
}

impl Converter for MediaConverter {
    async fn convert(&self, tenant: &Tenant, original: &Original<'_>) -> Result<Option<Conversion>> {
        let head = self.read(tenant, original, 0..HEAD.min(original.bytes)).await?;
        let kind = match kind::detect(original.media_type, original.name, &head) {
            Detected::Kind(kind) => Some(kind),
            // What is in it shows on conversion; here the name is enough. A compound file is none that `toMarkdown` takes.
            Detected::Zip => kind::declared(original.media_type, original.name)
                .filter(|kind| matches!(kind, Kind::Docx | Kind::Sheets)),
            _ => None,
        };
        let Some(kind) = kind else { return self.service.convert(tenant, original).await };
        self.readers.check(kind)?;
        let by_markdown = self.readers.has_markdown_of(kind, original.media_type, original.name);
        let is_by_model = by_markdown || matches!(kind, Kind::Image(_) | Kind::Audio(_));
        if is_by_model && self.done.is_enough() {
            return Ok(None);
        }
        match (kind, &self.readers.image, &self.readers.audio) {
            _ if by_markdown => self.by_markdown(tenant, original, kind).await.map(Some),
            (Kind::Image(_), Some(ImageReader::Vision { model, prompt, max_tokens }), _) => {
                self.see(tenant, original, kind, (model, prompt, *max_tokens)).await.map(Some)
            }
            (Kind::Audio(format), _, Some(AudioReader::Whisper { model, language })) => {
                self.hear(tenant, original, format, &head, (model, language.as_deref())).await
            }
            _ => self.service.convert(tenant, original).await,
        }
    }
}

impl MediaConverter {
    async fn read(
        &self,
        tenant: &Tenant,
        original: &Original<'_>,
        range: std::ops::Range<u64>,
    ) -> Result<Vec<u8>> {
        self.objects.read(tenant, original.key, range).await?.ok_or_else(|| Error::Document {
            code: "original_missing".into(),
            message: "the stored original is gone; upload it again".into(),
        })
    }

    /// What a vision model sees in an image.
    async fn see(
        &self,
        tenant: &Tenant,
        original: &Original<'_>,
        kind: Kind,
        (model, prompt, max_tokens): (&str, &str, u32),
    ) -> Result<Conversion> {
        let image = self.whole(tenant, original, "image", IMAGE_BYTES).await?;
        let request = VisionRequest { prompt, max_tokens, media_type: kind.media_type(), image: &image };
        let most = neurons_of_image(model, prompt, max_tokens).unwrap_or_default();
        let seen = self
            .paid(tenant, original, "vision", most, async || {
                let seen = self.clocked(0, self.ai.describe(model, &request)).await?;
                let cost = seen.usage.and_then(|usage| {
                    let (read, written) = (usage.prompt_tokens.into(), usage.completion_tokens.into());
                    usage.neurons.or_else(|| prices::neurons(model, read, written))
                });
                Ok((seen, cost.unwrap_or(most)))
            })
            .await?;
        if is_cut_off(&seen, max_tokens) {
            let message = format!(
                "there is more in the image than the model may write: the setting `ingest.image.max_tokens` is {max_tokens} \
                 and may be up to {MOST_TOKENS}; or upload the image in pieces"
            );
            return Err(Error::Document { code: "image_too_long".into(), message });
        }
        self.keep(
            original,
            of_image(file_name(original), &seen.text),
            TextMap::default(),
            "nothing was read or seen in the image",
        )
        .await
    }

    /// What a speech model hears in a recording, part by part; `None` when there is more than one invocation may.
    async fn hear(
        &self,
        tenant: &Tenant,
        original: &Original<'_>,
        format: Audio,
        head: &[u8],
        (model, language): (&str, Option<&str>),
    ) -> Result<Option<Conversion>> {
        let size = audio_size(model);
        let most = Most { bytes: size.part, seconds: PART_SECONDS };
        let Some(cutter) = Cutter::new(format, head, original.bytes, most)? else {
            let audio = self.whole(tenant, original, UNCUT, size.whole as u64).await?;
            let mut heard = Progress::default();
            let end = (original.bytes, None);
            self.hear_part(tenant, original, &mut heard, (model, language), &audio, end).await?;
            return self.keep_recording(original, &heard).await.map(Some);
        };
        let key = progress_key(original.key);
        let mut heard = self.progress(tenant, &key).await?;
        loop {
            let wanted = cutter.wants(heard.next);
            if wanted.is_empty() {
                break;
            }
            if cutter.parts() > MOST_PARTS || u64::from(heard.parts) >= MOST_PARTS {
                let message = format!(
                    "the recording has more than {MOST_PARTS} parts of {} MB or {} minutes; upload it in pieces, or as MP3",
                    most.bytes / 1_000_000,
                    PART_SECONDS / 60.0
                );
                return Err(Error::Document { code: "too_large".into(), message });
            }
            if self.done.is_enough() {
                return Ok(None);
            }
            let from = wanted.start;
            let bytes = self.read(tenant, original, wanted).await?;
            let part = cutter.part(from, &bytes);
            drop(bytes);
            if part.file.is_empty() {
                heard.next = part.next;
                continue;
            }
            self.hear_part(
                tenant,
                original,
                &mut heard,
                (model, language),
                &part.file,
                (part.next, Some(part.seconds)),
            )
            .await?;
            if !cutter.wants(heard.next).is_empty() {
                // What was paid for is not lost when a later part fails.
                self.note(tenant, &key, &heard).await?;
            }
        }
        if heard.parts == 0 {
            let message = "this is no readable recording: no sound was found in it".into();
            return Err(Error::Document { code: "unreadable".into(), message });
        }
        self.keep_recording(original, &heard).await.map(Some)
    }

    async fn progress(&self, tenant: &Tenant, key: &str) -> Result<Progress> {
        let kept = self.objects.get(tenant, key).await?;
        Ok(kept.as_deref().and_then(|json| serde_json::from_slice(json).ok()).unwrap_or_default())
    }

    async fn note(&self, tenant: &Tenant, key: &str, progress: &Progress) -> Result<()> {
        let json = serde_json::to_vec(progress).unwrap_or_default();
        self.objects.put(tenant, key, &json, "application/json").await
    }

    /// Hears one part, which ends at `next` in the original and takes so many seconds, if that is known.
    async fn hear_part(
        &self,
        tenant: &Tenant,
        original: &Original<'_>,
        heard: &mut Progress,
        (model, language): (&str, Option<&str>),
        audio: &[u8],
        (next, seconds): (u64, Option<f64>),
    ) -> Result<()> {
        let price = |seconds: f64| prices::neurons_of_audio(model, seconds).unwrap_or_default();
        let most = price(seconds.unwrap_or(audio.len() as f64 / SLOWEST));
        let part = self
            .paid(tenant, original, "speech", most, async || {
                let part = self.clocked(1, self.ai.transcribe(model, audio, language)).await?;
                let cost = longest(seconds, part.seconds).map_or(most, price);
                Ok((part, cost))
            })
            .await?;
        heard.add(next, seconds.or(part.seconds).unwrap_or_default(), part.segments);
        Ok(())
    }

    async fn keep_recording(&self, original: &Original<'_>, heard: &Progress) -> Result<Conversion> {
        let text = of_recording(file_name(original), &heard.segments);
        self.keep(original, text, TextMap::default(), "no speech was heard in the recording").await
    }

    /// What `toMarkdown` makes of a file. What that costs is not known here, and not counted.
    async fn by_markdown(&self, tenant: &Tenant, original: &Original<'_>, kind: Kind) -> Result<Conversion> {
        let bytes = self.whole(tenant, original, "file for `toMarkdown`", MARKDOWN_BYTES).await?;
        let name = file_name(original);
        let made = self.clocked(0, self.ai.to_markdown(name, kind.media_type(), &bytes)).await;
        drop(bytes);
        let made = match made {
            Ok(made) => made,
            Err(error) => return Err(self.failure(tenant, original, "to_markdown", &error).await),
        };
        match made {
            Markdown::Refused(why) => {
                let message = format!("`toMarkdown` can't read it: {why}");
                Err(Error::Document { code: "unreadable".into(), message })
            }
            Markdown::Text { text, .. } if matches!(kind, Kind::Image(_)) => {
                self.keep(
                    original,
                    of_image(name, &text),
                    TextMap::default(),
                    "nothing was read or seen in the image",
                )
                .await
            }
            Markdown::Text { text, .. } => {
                let map = TextMap { places: pages(&text), chunks: Vec::new() };
                self.keep(original, text, map, "nothing was found in the file").await
            }
        }
    }

    async fn whole(
        &self,
        tenant: &Tenant,
        original: &Original<'_>,
        what: &str,
        allowed: u64,
    ) -> Result<Vec<u8>> {
        if original.bytes > allowed {
            let message = format!("it has {} bytes; a {what} may have {allowed}", original.bytes);
            return Err(Error::Document { code: "too_large".into(), message });
        }
        self.read(tenant, original, 0..original.bytes).await
    }

    async fn keep(
        &self,
        original: &Original<'_>,
        text: String,
        map: TextMap,
        nothing: &str,
    ) -> Result<Conversion> {
        if text.trim().is_empty() {
            let message = format!("there is no text: {nothing}");
            return Err(Error::Document { code: "no_text".into(), message });
        }
        for _ in 1..STORE_OPERATIONS {
            self.ledger.count_r2();
        }
        let stored = store(self.objects.bucket(), original.key, text, &map, Format::Markdown).await;
        let conversion = stored.map_err(|error| Error::Service {
            service: "objects",
            retry: Retry::Backoff,
            code: None,
            message: error.to_string(),
        })?;
        // If this fails, it goes with the original.
        let _ = self.objects.delete(&[progress_key(original.key)]).await;
        Ok(conversion)
    }

    /// Has a model work on so many parts of recordings, and counts what the invocation may have done.
    async fn clocked<T>(&self, parts: u32, call: impl Future<Output = T>) -> T {
        let began = Date::now().as_millis();
        let made = call.await;
        self.done.add(parts, Date::now().as_millis().saturating_sub(began));
        made
    }

    /// What a model's failure is to the document: one that its file may be the reason of is counted, and the last of
    /// [`TRIES`] is the document's.
    async fn failure(
        &self,
        tenant: &Tenant,
        original: &Original<'_>,
        service: &'static str,
        error: &AiError,
    ) -> Error {
        let fault = fault(service, error);
        if !counts(&fault, error) {
            return fault;
        }
        let key = progress_key(original.key);
        let noted = async {
            let mut progress = self.progress(tenant, &key).await?;
            let failures = progress.failures + 1;
            // Whoever has it read again, by a new index or a new upload, starts anew.
            progress.failures = if failures < TRIES { failures } else { 0 };
            self.note(tenant, &key, &progress).await.map(|()| failures)
        };
        match noted.await {
            Err(error) => error,
            Ok(failures) if failures < TRIES => Error::Service {
                service,
                retry: Retry::Backoff,
                code: error.code(),
                message: error.to_string(),
            },
            Ok(_) => Error::Document {
                code: format!("{service}_failed").into(),
                message: format!("the model that reads it failed {TRIES} times, at last so: {error}"),
            },
        }
    }

    /// Makes a call that costs `most` neurons at most, and says what it did cost, within the tenant's daily limit.
    async fn paid<T>(
        &self,
        tenant: &Tenant,
        original: &Original<'_>,
        service: &'static str,
        most: f64,
        call: impl AsyncFnOnce() -> Result<(T, f64), AiError>,
    ) -> Result<T> {
        let neurons = |neurons| Amount { neurons, tokens: 0.0 };
        if let Some(allowed) = self.budget.neurons_per_day().filter(|allowed| most > *allowed) {
            let message = format!(
                "reading it would cost up to {most:.0} neurons at once, and the setting `limits.neurons_per_day` allows {allowed:.0}"
            );
            return Err(Error::Document { code: "over_daily_limit".into(), message });
        }
        let day = match self.budget.reserve(tenant, Amount::default(), neurons(most)).await {
            // Tomorrow there is a new allowance, as there is of the account's.
            Err(error @ Error::Budget { .. }) => {
                return Err(Error::Service {
                    service: "budget",
                    retry: Retry::AfterMidnightUtc,
                    code: None,
                    message: error.to_string(),
                });
            }
            other => other?,
        };
        match call().await {
            Ok((made, cost)) => {
                self.budget.spend_on(day, tenant, neurons(cost - most)).await?;
                Ok(made)
            }
            Err(error) => {
                // The model has worked for a reply that came too late or made no sense.
                if !matches!(error, AiError::Malformed { .. } | AiError::TimedOut { .. }) {
                    self.budget.spend_on(day, tenant, neurons(-most)).await?;
                }
                Err(self.failure(tenant, original, service, &error).await)
            }
        }
    }
}

/// Whether a model's failure may be its file's fault. Want of capacity, a rate or an allowance is not, nor is an invocation
/// that may not call any more; what is refused fails at once, or waits for whoever owns the account.
fn counts(fault: &Error, error: &AiError) -> bool {
    match error {
        AiError::SubrequestLimit { .. } => false,
        AiError::Platform { code: Some(code), .. } if TIMEOUTS.contains(code) => true,
        _ => fault.retry() == Retry::Backoff,
    }
}

/// The longer of what a part takes by its own bytes and by the model's word: a head may say anything.
fn longest(own: Option<f64>, told: Option<f64>) -> Option<f64> {
    own.into_iter().chain(told).reduce(f64::max)
}

/// The last part of what may be a path.
fn file_name<'a>(original: &Original<'a>) -> &'a str {
    original.name.rsplit('/').next().unwrap_or(original.name)
}

/// Where pages begin in what `toMarkdown` makes of a PDF: its headings say so.
fn pages(text: &str) -> Vec<Place> {
    let mut at = 0;
    let mut places = Vec::new();
    for line in text.split_inclusive('\n') {
        if let Some(page) = line.strip_prefix("### Page ").and_then(|page| page.trim().parse().ok()) {
            places.push(Place { at, page: Some(page), row: None });
        }
        at += line.len() as u64;
    }
    places
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_are_told_by_their_headings() {
        let text = "# a.pdf\n## Contents\n### Page 1\nOne.\n### Page 2\nTwo.\n### Page of notes\n";
        let places = pages(text);
        let found: Vec<_> =
            places.iter().map(|place| (&text[place.at as usize..][..10], place.page)).collect();
        assert_eq!(found, [("### Page 1", Some(1)), ("### Page 2", Some(2))]);
        assert_eq!(pages("no pages"), []);
    }

    #[test]
    fn failures_that_a_file_may_be_the_reason_of_are_counted() {
        let platform = |status, body: &str| AiError::from_reply(status, body, None);
        let (what, detail) = ("transcription", String::new());
        for (error, expected) in [
            (platform(408, "3007: Timeout"), true),
            (platform(408, "3008: Aborted"), true),
            (platform(408, "3046: Timeout"), true),
            (platform(500, "<html>"), true),
            (AiError::TimedOut { after_ms: 1 }, true),
            (AiError::Malformed { what, detail, request_id: None }, true),
            (AiError::Network { message: String::new() }, true),
            (AiError::SubrequestLimit { message: String::new() }, false),
            (platform(429, "3040: Capacity temporarily exceeded"), false),
            (platform(429, "too many requests"), false),
            (platform(429, "3036: used up"), false),
            (platform(403, "5016: agree to the licence"), false),
            (platform(400, "5007: No such model"), false),
        ] {
            assert_eq!(counts(&fault("speech", &error), &error), expected, "{error}");
        }
    }

    #[test]
    fn an_invocation_has_enough_by_parts_or_by_time_whoever_asks() {
        for (parts, milliseconds) in [(PARTS_AT_ONCE, 0), (1, TIME)] {
            let done = Done::default();
            let other = done.clone();
            done.add(parts - 1, 0);
            assert!(!done.is_enough());
            other.add(1, milliseconds);
            assert!(done.is_enough());
        }
    }

    #[test]
    fn the_longer_time_is_paid() {
        assert_eq!(longest(Some(2.0), Some(600.0)), Some(600.0));
        assert_eq!(longest(Some(600.0), None), Some(600.0));
        assert_eq!(longest(None, None), None);
    }

    #[test]
    fn names_are_the_last_part_of_a_path() {
        let original = Original { key: "k", bytes: 1, media_type: "", name: "photos/2026/cone.png" };
        assert_eq!(file_name(&original), "cone.png");
    }
}
