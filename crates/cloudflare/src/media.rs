//! Core's `Converter`: documents by the service that is bound, images and recordings by models, and by `toMarkdown` what the
//! settings hand to it.

use crate::ai::{Ai, Markdown, VisionRequest, audio_size};
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
use ragflare_core::media::{AudioReader, ImageReader, Readers, neurons_of_image};
use ragflare_core::ports::{Converter, ObjectStore, Original};
use ragflare_core::{Error, Result, Retry, Tenant, prices};
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
/// Parts heard in one invocation, which has 15 minutes for them and for other documents.
const PARTS_AT_ONCE: u32 = 8;
/// Milliseconds after which no further part is begun in an invocation.
const TIME: u64 = 4 * 60 * 1000;
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
}

impl Converter for MediaConverter {
    async fn convert(&self, tenant: &Tenant, original: &Original<'_>) -> Result<Option<Conversion>> {
        let head = self.read(tenant, original, 0..HEAD.min(original.bytes)).await?;
        let kind = match kind::detect(original.media_type, original.name, &head) {
            Detected::Kind(kind) => Some(kind),
            // What is in it shows on conversion; here the name is enough.
            Detected::Zip | Detected::Compound => kind::declared(original.media_type, original.name)
                .filter(|kind| matches!(kind, Kind::Docx | Kind::Sheets)),
            _ => None,
        };
        let Some(kind) = kind else { return self.service.convert(tenant, original).await };
        self.readers.check(kind)?;
        match (kind, &self.readers.image, &self.readers.audio) {
            _ if self.readers.has_markdown_of(kind) => {
                self.by_markdown(tenant, original, kind).await.map(Some)
            }
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
            .paid(tenant, most, async || {
                let seen =
                    self.ai.describe(model, &request).await.map_err(|error| fault("vision", &error))?;
                let cost = seen.usage.and_then(|usage| {
                    let (read, written) = (usage.prompt_tokens.into(), usage.completion_tokens.into());
                    usage.neurons.or_else(|| prices::neurons(model, read, written))
                });
                Ok((seen.text, cost.unwrap_or(most)))
            })
            .await?;
        self.keep(
            original,
            of_image(file_name(original), &seen),
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
            self.hear_part(tenant, &mut heard, (model, language), &audio, (original.bytes, None)).await?;
            return self.keep_recording(original, &heard).await.map(Some);
        };
        let key = progress_key(original.key);
        let kept = self.objects.get(tenant, &key).await?;
        let mut heard: Progress =
            kept.as_deref().and_then(|json| serde_json::from_slice(json).ok()).unwrap_or_default();
        let (began, parts_before) = (Date::now().as_millis(), heard.parts);
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
            if heard.parts - parts_before >= PARTS_AT_ONCE || Date::now().as_millis() - began > TIME {
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
                &mut heard,
                (model, language),
                &part.file,
                (part.next, Some(part.seconds)),
            )
            .await?;
            if !cutter.wants(heard.next).is_empty() {
                // What was paid for is not lost when a later part fails.
                let json = serde_json::to_vec(&heard).unwrap_or_default();
                self.objects.put(tenant, &key, &json, "application/json").await?;
            }
        }
        if heard.parts == 0 {
            let message = "this is no readable recording: no sound was found in it".into();
            return Err(Error::Document { code: "unreadable".into(), message });
        }
        let conversion = self.keep_recording(original, &heard).await?;
        if heard.parts > 1 {
            // If this fails, it goes with the original.
            let _ = self.objects.delete(&[key]).await;
        }
        Ok(Some(conversion))
    }

    /// Hears one part, which ends at `next` in the original and takes so many seconds, if that is known.
    async fn hear_part(
        &self,
        tenant: &Tenant,
        heard: &mut Progress,
        (model, language): (&str, Option<&str>),
        audio: &[u8],
        (next, seconds): (u64, Option<f64>),
    ) -> Result<()> {
        let price = |seconds: f64| prices::neurons_of_audio(model, seconds).unwrap_or_default();
        let most = price(seconds.unwrap_or(audio.len() as f64 / SLOWEST));
        let part = self
            .paid(tenant, most, async || {
                let part = self.ai.transcribe(model, audio, language).await;
                let part = part.map_err(|error| fault("speech", &error))?;
                let cost = seconds.or(part.seconds).map_or(most, price);
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
        let made = self.ai.to_markdown(name, kind.media_type(), &bytes).await;
        drop(bytes);
        match made.map_err(|error| fault("to_markdown", &error))? {
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
        stored.map_err(|error| Error::Service {
            service: "objects",
            retry: Retry::Backoff,
            code: None,
            message: error.to_string(),
        })
    }

    /// Makes a call that costs `most` neurons at most, and says what it did cost, within the tenant's daily limit.
    async fn paid<T>(
        &self,
        tenant: &Tenant,
        most: f64,
        call: impl AsyncFnOnce() -> Result<(T, f64)>,
    ) -> Result<T> {
        let neurons = |neurons| Amount { neurons, tokens: 0.0 };
        if let Some(allowed) = self.budget.neurons_per_day().filter(|allowed| most > *allowed) {
            let message = format!(
                "reading it would cost up to {most:.0} neurons at once, and the setting `limits.neurons_per_day` allows {allowed:.0}"
            );
            return Err(Error::Document { code: "over_daily_limit".into(), message });
        }
        match self.budget.reserve(tenant, Amount::default(), neurons(most)).await {
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
        }
        match call().await {
            Ok((made, cost)) => {
                self.budget.spend(tenant, neurons(cost - most)).await?;
                Ok(made)
            }
            Err(error) => {
                self.budget.spend(tenant, neurons(-most)).await?;
                Err(error)
            }
        }
    }
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
    fn names_are_the_last_part_of_a_path() {
        let original = Original { key: "k", bytes: 1, media_type: "", name: "photos/2026/cone.png" };
        assert_eq!(file_name(&original), "cone.png");
    }
}
