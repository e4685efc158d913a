//! What is to be done about an object, by what it is now and what is known of it.

use crate::ingest::OF_THE_BYTES;
use crate::ports::{ANOTHERS, Known, ObjectState};

/// What is to be done about an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Nothing: all is as it should be.
    Keep,
    /// Make a document of it.
    Take,
    /// Leave it: its document's id has one that was uploaded, or made of another key.
    Refuse,
    /// Delete its document.
    Remove,
    /// Forget it: there is no document of it.
    Forget,
}

/// `version` is the object's, if it is there and meant; `stamp` is [`crate::settings::Source::stamp`].
///
/// A document that was uploaded is never replaced and never deleted. One that was made of an object, and deleted since by
/// somebody else, is made again: the bucket has the last word.
pub fn decide(version: Option<&str>, known: &Known, stamp: &str) -> Action {
    let (row, holder) = (known.row.as_ref(), known.holder.as_ref());
    let uploaded = holder.is_some_and(|holder| !holder.is_from_source());
    let Some(version) = version else {
        return match (row, holder) {
            (_, Some(_)) if !uploaded => Action::Remove,
            (Some(_), _) => Action::Forget,
            (None, _) => Action::Keep,
        };
    };
    let failure = holder.and_then(|holder| holder.failure.as_deref());
    let original =
        if known.yields() { Some(ANOTHERS) } else { holder.map(|holder| holder.original.as_str()) };
    let settled = row.is_some_and(|row| {
        row.version.as_deref() == Some(version)
            && shape(&row.stamp) == shape(stamp)
            && row.original.as_deref() == original
            && match row.state {
                ObjectState::Taken => {
                    original.is_some()
                        && !uploaded
                        && failure.is_none_or(|code| row.stamp == stamp && lasts(code))
                }
                ObjectState::Skipped => row.stamp == stamp,
                ObjectState::New | ObjectState::Failed => false,
            }
    });
    match (settled, uploaded || known.yields()) {
        (true, _) => Action::Keep,
        (false, true) => Action::Refuse,
        (false, false) => Action::Take,
    }
}

/// The part of a stamp that says what documents are like; the rest says what can be read at all.
fn shape(stamp: &str) -> &str {
    stamp.split('.').next().unwrap_or_default()
}

/// Whether an object fails for this again as long as it is as it is. What failed for anything else is taken anew by each sync.
fn lasts(code: &str) -> bool {
    match code {
        // Of its copy: there will be another one.
        "original_missing" | "original_changed" => false,
        // The last ones are of models that were paid each time.
        "too_large" | "chunk_too_long" | "image_too_long" | "vision_failed" | "speech_failed"
        | "to_markdown_failed" => true,
        code => OF_THE_BYTES.contains(&code) || of_the_input(code),
    }
}

/// Whether a media model said that what it was given is wrong (Workers AI's errors, 2026).
fn of_the_input(code: &str) -> bool {
    let number = ["vision_", "speech_", "to_markdown_"].iter().find_map(|service| code.strip_prefix(service));
    number.is_some_and(|number| matches!(number, "3006" | "5004" | "5006"))
}

/// Whether an object that is listed needs a look.
pub fn differs(version: &str, known: &Known, at_its_place: bool, stamp: &str) -> bool {
    !at_its_place
        || known.row.as_ref().is_some_and(|row| row.pending)
        || decide(Some(version), known, stamp) != Action::Keep
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Tenant;
    use crate::document::DocumentId;
    use crate::ports::{Holder, Row};

    const OWN: &str = "originals/me/source.1";
    const OTHER: &str = "originals/me/source.2";
    const UPLOADED: &str = "originals/me/1";

    fn row(state: ObjectState, version: Option<&str>, original: Option<&str>) -> Row {
        Row {
            tenant: Tenant::new("me").unwrap(),
            document: DocumentId::new("a.md").unwrap(),
            state,
            version: version.map(ToOwned::to_owned),
            stamp: "s.r".into(),
            original: original.map(ToOwned::to_owned),
            pending: false,
            edition: 1,
        }
    }

    fn holder(original: &str) -> Holder {
        Holder { current: 1, original: original.into(), failure: None }
    }

    fn known(row: Option<Row>, holder: Option<Holder>) -> Known {
        Known { key: "a.md".into(), row, holder, rival: None, shared: false }
    }

    #[test]
    fn every_case() {
        use Action::{Forget, Keep, Refuse, Remove, Take};
        use ObjectState::{Failed, New, Skipped, Taken};
        let (own, other, uploaded) = (Some(OWN), Some(OTHER), Some(UPLOADED));
        let (one, two) = (Some("1"), Some("2"));
        for (what, version, row, holding, action) in [
            ("new", one, None, None, Take),
            ("new, and its row was lost", one, None, own, Take),
            ("new, and its id is taken", one, None, uploaded, Refuse),
            ("asked for, not looked at yet", one, Some(row(New, None, None)), None, Take),
            ("as it was", one, Some(row(Taken, one, own)), own, Keep),
            ("written again", two, Some(row(Taken, one, own)), own, Take),
            ("its document is of another copy", one, Some(row(Taken, one, own)), other, Take),
            ("its document was deleted", one, Some(row(Taken, one, own)), None, Take),
            ("its document was replaced", one, Some(row(Taken, one, own)), uploaded, Refuse),
            ("could not be read", one, Some(row(Skipped, one, None)), None, Keep),
            (
                "could not be read, and there is its old document",
                one,
                Some(row(Skipped, one, own)),
                own,
                Keep,
            ),
            ("could not be read before", two, Some(row(Skipped, one, None)), None, Take),
            ("refused, and still", one, Some(row(Skipped, one, uploaded)), uploaded, Keep),
            ("refused, and free now", one, Some(row(Skipped, one, uploaded)), None, Take),
            (
                "could not be read, and its id is taken now",
                one,
                Some(row(Skipped, one, None)),
                uploaded,
                Refuse,
            ),
            ("failed", one, Some(row(Failed, None, None)), None, Take),
            ("gone", None, Some(row(Taken, one, own)), own, Remove),
            ("gone, and its row was lost", None, None, own, Remove),
            ("gone, and its document is", None, Some(row(Taken, one, own)), None, Forget),
            ("gone, and its document was replaced", None, Some(row(Taken, one, own)), uploaded, Forget),
            ("never seen", None, None, None, Keep),
            ("of no concern", None, None, uploaded, Keep),
        ] {
            let known = known(row, holding.map(holder));
            assert_eq!(decide(version, &known, "s.r"), action, "{what}");
        }
    }

    #[test]
    fn other_readers_matter_to_what_was_not_read() {
        use Action::{Keep, Take};
        use ObjectState::{Skipped, Taken};
        let failed = |code: &str| Holder { failure: Some(code.into()), ..holder(OWN) };
        for (what, row, holder, stamp, action) in [
            ("other metadata", row(Taken, Some("1"), Some(OWN)), holder(OWN), "t.r", Take),
            ("other readers", row(Taken, Some("1"), Some(OWN)), holder(OWN), "s.q", Keep),
            ("nobody reads it", row(Skipped, Some("1"), Some(OWN)), holder(OWN), "s.r", Keep),
            ("somebody may", row(Skipped, Some("1"), Some(OWN)), holder(OWN), "s.q", Take),
            ("it has no text", row(Taken, Some("1"), Some(OWN)), failed("no_text"), "s.r", Keep),
            ("another may find some", row(Taken, Some("1"), Some(OWN)), failed("no_text"), "s.q", Take),
        ] {
            assert_eq!(decide(Some("1"), &known(Some(row), Some(holder)), stamp), action, "{what}");
        }
    }

    #[test]
    fn what_failed_for_a_passing_reason_is_taken_anew() {
        for (code, passes) in [
            ("retries_exhausted", true),
            ("over_daily_limit", true),
            ("speech_5007", true),
            ("embedding_settings_changed", true),
            ("original_missing", true),
            ("encrypted", false),
            ("embedding_refused", false),
            ("too_large", false),
            ("image_too_long", false),
            ("speech_failed", false),
            ("vision_5004", false),
        ] {
            let failed = Holder { failure: Some(code.into()), ..holder(OWN) };
            let known = known(Some(row(ObjectState::Taken, Some("1"), Some(OWN))), Some(failed));
            assert_eq!(differs("1", &known, true, "s.r"), passes, "{code}");
        }
    }

    #[test]
    fn of_keys_that_give_one_id_the_first_has_it() {
        use ObjectState::{Skipped, Taken};
        let with =
            |row, rival: &str| Known { rival: Some(rival.into()), ..known(Some(row), Some(holder(OWN))) };
        let decide = |known: &Known| decide(Some("1"), known, "s.r");
        assert_eq!(decide(&with(row(Taken, Some("1"), Some(OWN)), "b.md")), Action::Keep);
        assert_eq!(decide(&with(row(Taken, Some("1"), Some(OWN)), "a b.md")), Action::Refuse);
        assert_eq!(decide(&with(row(Skipped, Some("1"), Some(ANOTHERS)), "a b.md")), Action::Keep);
        // It is gone, whatever became of its document.
        let refused = row(Skipped, Some("1"), Some(ANOTHERS));
        assert_eq!(decide(&known(Some(refused.clone()), Some(holder(OWN)))), Action::Take);
        assert_eq!(decide(&known(Some(refused), None)), Action::Take);
    }

    #[test]
    fn a_look_that_was_lost_is_asked_for_again() {
        let known = |pending| {
            let row = Row { pending, ..row(ObjectState::Taken, Some("1"), Some(OWN)) };
            known(Some(row), Some(holder(OWN)))
        };
        assert!(!differs("1", &known(false), true, "s.r"));
        assert!(differs("1", &known(true), true, "s.r"));
        assert!(differs("1", &known(false), false, "s.r"));
        assert!(differs("2", &known(false), true, "s.r"));
    }
}
