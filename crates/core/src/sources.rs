//! Documents from buckets: which objects are meant, what is to be done about one, and how a whole bucket is gone through.
//!
//! Events say only that something may have happened. Whatever comes, an event, a sync or a message for the second time, the
//! object is looked up, and the document is made to be what the object is then.

mod decide;
mod look;
mod sync;

pub use decide::{Action, decide, differs};
pub use look::{MediaType, Sources};
pub use sync::STALE_AFTER;

use crate::document::{DocumentId, Metadata};
use crate::file_name::id_of;
use crate::filter::check_metadata;
use crate::identity::{ORIGINALS, digest, short};
use crate::settings::{Field, FieldType, Settings, Source, within};
use crate::{Error, Result};
use fast_glob::{glob_match, validate};
use serde_json::Value;
use std::collections::BTreeMap;

/// Raised when objects that were skipped may be read by now.
const RULES: &str = "1";
/// Patterns of a list at most.
const MAX_PATTERNS: usize = 100;
/// Sources at most: what is shown of each costs some D1 statements.
const MAX_SOURCES: usize = 100;
/// The longest name of a source, in bytes.
const MAX_NAME: usize = 200;
/// Longest title, in bytes.
const MAX_TITLE: usize = 512;
/// The binding of the bucket that originals are kept in.
const OWN_BINDING: &str = "BUCKET";

impl Source {
    /// What it is called: its name, or else its binding and prefix, `SOURCE/docs/`.
    pub fn name(&self) -> String {
        self.name.clone().unwrap_or_else(|| format!("{}/{}", self.binding, self.prefix))
    }

    /// Whether an object of this key is meant. Keys that end in `/` are what tools leave for folders. Keys of originals never
    /// are: under whatever binding, the bucket may be the one that they are kept in, and all tenants' originals, the copies
    /// made for this source among them, would become documents of this one.
    pub fn takes(&self, key: &str) -> bool {
        let matches = |patterns: &[String]| {
            patterns.iter().any(|pattern| glob_match(without_slash(pattern), without_slash(key)))
        };
        key.starts_with(&self.prefix)
            && !key.starts_with(ORIGINALS)
            && !key.ends_with('/')
            && !matches(&self.exclude)
            && (self.include.is_empty() || matches(&self.include))
    }

    /// The document of an object: `id_prefix` and key, as far as an id can hold them ([`id_of`]).
    ///
    /// # Errors
    /// As [`id_of`].
    pub fn document_id(&self, key: &str) -> Result<DocumentId> {
        id_of(&format!("{}{key}", self.id_prefix))
    }

    /// Hash of all that shapes a document beside its object, `.`, and one of who can read what. When the first changes, all
    /// objects are looked at again; when the second does, those that could not be read.
    pub fn stamp(&self, settings: &Settings) -> String {
        let ingest = &settings.ingest;
        let shaping = serde_json::to_string(&(&self.metadata, &settings.fields)).unwrap_or_default();
        let reading = (&ingest.image, &ingest.audio, &ingest.to_markdown);
        let reading = serde_json::to_string(&reading).unwrap_or_default();
        let hash = |parts: &[&[u8]]| short(&digest(parts), 6);
        format!("{}.{}", hash(&[shaping.as_bytes()]), hash(&[RULES.as_bytes(), reading.as_bytes()]))
    }

    fn validate(&self, at: &str, fields: &[Field]) -> Result<()> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        if self.binding.is_empty() || !self.binding.bytes().all(plain) {
            let message =
                format!("is `{}`, which can't be the name of an R2 binding (`SOURCE`)", self.binding);
            return Err(Error::invalid(format!("{at}.binding"), message));
        }
        if self.binding == OWN_BINDING {
            let message = format!(
                "is `{OWN_BINDING}`, the bucket that originals of all tenants are kept in; objects are taken from another one"
            );
            return Err(Error::invalid(format!("{at}.binding"), message));
        }
        if self.prefix.starts_with('/') {
            let message = format!("`{}` begins with a slash, which keys do not; leave it out", self.prefix);
            return Err(Error::invalid(format!("{at}.prefix"), message));
        }
        if self.prefix.starts_with(ORIGINALS) {
            let message =
                format!("keys that begin with `{ORIGINALS}` are never taken: originals have such keys");
            return Err(Error::invalid(format!("{at}.prefix"), message));
        }
        let name = self.name();
        if name.is_empty() || name.len() > MAX_NAME {
            let message = format!("is {} bytes long; allowed are 1 to {MAX_NAME}", name.len());
            return Err(Error::invalid(format!("{at}.name"), message));
        }
        for (list, patterns) in [("include", &self.include), ("exclude", &self.exclude)] {
            if patterns.len() > MAX_PATTERNS {
                let message = format!("has {} patterns; allowed are {MAX_PATTERNS}", patterns.len());
                return Err(Error::invalid(format!("{at}.{list}"), message));
            }
            for pattern in patterns {
                let why = if pattern.is_empty() {
                    "it is empty".to_owned()
                } else if pattern.starts_with('!') {
                    "a leading `!` turns a pattern around; put it into the other list".to_owned()
                } else if let Err(error) = validate(pattern) {
                    error.to_string()
                } else {
                    continue;
                };
                return Err(Error::invalid(format!("{at}.{list}"), format!("`{pattern}`: {why}")));
            }
        }
        if !self.id_prefix.is_empty() {
            DocumentId::new(format!("{}x", self.id_prefix))
                .map_err(|error| Error::invalid(format!("{at}.id_prefix"), error.to_string()))?;
        }
        check_metadata(&self.metadata, fields)
            .map_err(|error| Error::invalid(format!("{at}.metadata"), error.to_string()))
    }

    /// What all its ids begin with.
    fn ids(&self) -> String {
        format!("{}{}", self.id_prefix, self.prefix)
    }
}

/// # Errors
/// [`Error::Invalid`] naming the source and what is wrong: a value, a name that another has, or ids that two could give.
pub(crate) fn validate_sources(sources: &[Source], fields: &[Field]) -> Result<()> {
    within("ingest.sources (their number)", sources.len(), 0..=MAX_SOURCES)?;
    for (position, source) in sources.iter().enumerate() {
        let at = format!("ingest.sources[{position}]");
        source.validate(&at, fields)?;
        for other in &sources[..position] {
            if other.name() == source.name() {
                let message = format!("`{}` is another source's; give each a `name`", source.name());
                return Err(Error::invalid(format!("{at}.name"), message));
            }
            let (ids, others) = (source.ids(), other.ids());
            if other.tenant == source.tenant && (ids.starts_with(&others) || others.starts_with(&ids)) {
                let message = format!(
                    "and `{}` could give two objects the same document of tenant `{}` (`{ids}…` and `{others}…`); choose \
                     prefixes of which none begins with another, or an `id_prefix`",
                    other.name(),
                    source.tenant
                );
                return Err(Error::invalid(at, message));
            }
        }
    }
    Ok(())
}

/// A slash in front is how AI Search writes patterns of whole paths; keys have none.
fn without_slash(text: &str) -> &str {
    text.strip_prefix('/').unwrap_or(text)
}

/// What an object's own metadata says of declared fields, texts read as the fields' types; what a source declares for all its
/// objects has the last word, and together they are no more than an upload may have. Also, what was left out.
fn metadata_of(source: &Source, own: &BTreeMap<String, String>, fields: &[Field]) -> (Metadata, Vec<String>) {
    let (mut metadata, mut wrong) = (source.metadata.clone(), Vec::new());
    for field in fields {
        let Some(text) = own.get(&field.name) else { continue };
        let value = match field.r#type {
            FieldType::String => Some(Value::from(text.as_str())),
            FieldType::Number => {
                text.trim().parse().ok().filter(|number: &f64| number.is_finite()).map(number)
            }
            FieldType::Boolean => text.trim().parse::<bool>().ok().map(Value::from),
        };
        match value {
            Some(_) if source.metadata.contains_key(&field.name) => {}
            Some(value) => {
                metadata.insert(field.name.clone(), value);
                if check_metadata(&metadata, fields).is_err() {
                    metadata.remove(&field.name);
                    wrong.push(format!("`{}` is too long", field.name));
                }
            }
            None => wrong.push(format!("`{}` is `{}`, no {}", field.name, shortened(text), kind(field))),
        }
    }
    (metadata, wrong)
}

/// Whole numbers as such: they are shown, and compared, without a point.
fn number(number: f64) -> Value {
    if number.fract() == 0.0 && number.abs() < 9e15 { (number as i64).into() } else { number.into() }
}

fn kind(field: &Field) -> &'static str {
    match field.r#type {
        FieldType::String => "text",
        FieldType::Number => "number",
        FieldType::Boolean => "`true` or `false`",
    }
}

fn shortened(text: &str) -> String {
    text.chars().take(40).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Tenant;
    use serde_json::json;

    fn source(value: &Value) -> Source {
        let mut whole = json!({"tenant": "me"});
        whole.as_object_mut().unwrap().extend(value.as_object().unwrap().clone());
        serde_json::from_value(whole).unwrap()
    }

    fn fields() -> Vec<Field> {
        [("year", FieldType::Number), ("lang", FieldType::String), ("public", FieldType::Boolean)]
            .map(|(name, r#type)| Field { name: name.into(), r#type })
            .into()
    }

    #[test]
    fn patterns_choose_objects() {
        let all = source(&json!({"prefix": "docs/"}));
        assert!(all.takes("docs/a.md") && all.takes("docs/x/y.pdf"));
        assert!(
            source(&json!({})).takes("my/originals/a.md")
                && !source(&json!({})).takes("originals/me/source.1")
        );
        assert!(!all.takes("doc/a.md") && !all.takes("a.md") && !all.takes("docs/folder/"));
        let some = source(
            &json!({"include": ["docs/**/*.{md,pdf}", "README"], "exclude": ["**/draft*", "docs/old/**"]}),
        );
        for (key, taken) in [
            ("docs/a.md", true),
            ("docs/x/y/a.pdf", true),
            ("README", true),
            ("x/README", false),
            ("docs/a.txt", false),
            ("docs/draft.md", false),
            ("docs/x/draft-2.md", false),
            ("docs/old/a.md", false),
            ("docs/older/a.md", true),
            ("docs/A.MD", false),
            ("docs/Über uns.md", true),
        ] {
            assert_eq!(some.takes(key), taken, "{key}");
        }
    }

    /// The table of its path-filtering page (2026-07).
    #[test]
    fn patterns_of_ai_search_mean_the_same() {
        for (patterns, key, taken) in [
            (json!({"include": ["/docs/**/*.pdf"]}), "docs/guide.pdf", true),
            (json!({"include": ["/docs/**/*.pdf"]}), "docs/api/ref.pdf", true),
            (json!({"include": ["/docs/**/*.pdf"]}), "docs/guide.md", false),
            (json!({"include": ["/docs/**/*.pdf"]}), "images/logo.png", false),
            (json!({"exclude": ["**/*.tmp", "**/*.bak"]}), "data/cache.tmp", false),
            (json!({"exclude": ["**/*.tmp", "**/*.bak"]}), "old.bak", false),
            (json!({"exclude": ["**/*.tmp", "**/*.bak"]}), "docs/guide.md", true),
            (json!({"exclude": ["/temp/**", "/backup/**"]}), "temp/file.txt", false),
            (json!({"include": ["/docs/**"], "exclude": ["/docs/drafts/**"]}), "docs/drafts/wip.md", false),
            (json!({"include": ["/docs/**"], "exclude": ["/docs/drafts/**"]}), "docs/guide.md", true),
            (json!({"include": ["docs/*"]}), "docs/sub/file.pdf", false),
            (json!({"include": ["docs/*"]}), "site/docs/file.pdf", false),
            (json!({"include": ["**/docs/*"]}), "site/docs/file.pdf", true),
            (json!({"include": ["**/docs/*"]}), "docs/file.pdf", true),
        ] {
            assert_eq!(source(&patterns).takes(key), taken, "{patterns} {key}");
        }
    }

    #[test]
    fn any_key_gets_an_id() {
        let plain = source(&json!({"id_prefix": "wiki/"}));
        assert_eq!(plain.document_id("docs/a.md").unwrap().as_str(), "wiki/docs/a.md");
        for key in ["Über uns (2).md", "//", "../../etc/passwd", "", &"x".repeat(1024), "\u{0}\u{1f600}"] {
            let id = plain.document_id(key).unwrap();
            assert!(id.as_str().starts_with("wiki"), "{id}");
        }
    }

    #[test]
    fn metadata_is_read_as_declared() {
        let plain = source(&json!({"metadata": {"lang": "de"}}));
        let own = |pairs: &[(&str, &str)]| {
            let own = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
            metadata_of(&plain, &own, &fields())
        };
        let (metadata, wrong) =
            own(&[("year", " 1999"), ("public", "true"), ("lang", "en"), ("owner", "me")]);
        assert_eq!(Value::Object(metadata), json!({"year": 1999, "public": true, "lang": "de"}));
        assert!(wrong.is_empty());
        let (metadata, wrong) = own(&[("year", "MCM"), ("public", "yes")]);
        assert_eq!(Value::Object(metadata), json!({"lang": "de"}));
        assert_eq!(wrong, ["`year` is `MCM`, no number", "`public` is `yes`, no `true` or `false`"]);
        assert!(own(&[("year", "inf")]).1.len() == 1);
        // No more than an upload may have, and of no field a part.
        let fields =
            ["one", "two", "three"].map(|name| Field { name: name.into(), r#type: FieldType::String });
        let own = [("one", 3000), ("two", 6000), ("three", 3000)]
            .map(|(name, length)| (name.to_owned(), "x".repeat(length)));
        let (metadata, wrong) = metadata_of(&source(&json!({})), &own.into(), &fields);
        assert_eq!(metadata.keys().collect::<Vec<_>>(), ["one", "three"]);
        assert_eq!(wrong, ["`two` is too long"]);
    }

    #[test]
    fn mistakes_are_named() {
        let wrong = |sources: Value| {
            let sources: Vec<Source> = sources.as_array().unwrap().iter().map(source).collect::<Vec<_>>();
            validate_sources(&sources, &fields()).unwrap_err().to_string()
        };
        for (sources, message) in [
            (json!([{"binding": ""}]), "ingest.sources[0].binding: is ``"),
            (json!([{"binding": "MY-BUCKET"}]), "can't be the name of an R2 binding"),
            (
                json!([{"binding": "BUCKET"}]),
                "ingest.sources[0].binding: is `BUCKET`, the bucket that originals",
            ),
            (json!([{"prefix": "/docs/"}]), "ingest.sources[0].prefix: `/docs/` begins with a slash"),
            (json!([{"prefix": "originals/me/"}]), "never taken"),
            (json!([{"include": ["docs/{a"]}]), "ingest.sources[0].include: `docs/{a`: "),
            (json!([{"exclude": ["!x"]}]), "put it into the other list"),
            (json!([{"exclude": [""]}]), "it is empty"),
            (json!([{"id_prefix": "wi ki/"}]), "ingest.sources[0].id_prefix: id: has characters other"),
            (json!([{"metadata": {"year": "old"}}]), "ingest.sources[0].metadata: metadata.year"),
            (json!([{}, {}]), "ingest.sources[1].name: `SOURCE/` is another source's"),
            (
                json!([{"prefix": "docs/"}, {"name": "b", "binding": "OTHER", "prefix": "docs/a/"}]),
                "ingest.sources[1]: and `SOURCE/docs/` could give two objects the same document of tenant `me`",
            ),
        ] {
            let error = wrong(sources.clone());
            assert!(error.contains(message), "{sources}: {error}");
        }
        let fine = [
            source(&json!({"prefix": "docs/"})),
            source(&json!({"prefix": "notes/"})),
            source(&json!({"name": "b", "binding": "OTHER", "prefix": "docs/", "id_prefix": "other/"})),
            Source {
                tenant: Tenant::new("you").unwrap(),
                ..source(&json!({"name": "c", "prefix": "docs/"}))
            },
        ];
        validate_sources(&fine, &fields()).unwrap();
    }

    #[test]
    fn a_stamp_changes_with_what_shapes_documents() {
        let settings = Settings { fields: fields(), ..Settings::default() };
        let plain = source(&json!({}));
        let stamp = plain.stamp(&settings);
        assert_eq!(source(&json!({"exclude": ["x"]})).stamp(&settings), stamp);
        assert_ne!(source(&json!({"metadata": {"lang": "de"}})).stamp(&settings), stamp);
        assert_ne!(plain.stamp(&Settings::default()), stamp);
        let mut reading = settings.clone();
        reading.ingest.to_markdown = vec!["application/pdf".into()];
        let shape = |stamp: &str| stamp.split_once('.').unwrap().0.to_owned();
        assert_ne!(plain.stamp(&reading), stamp);
        assert_eq!(shape(&plain.stamp(&reading)), shape(&stamp));
    }
}
